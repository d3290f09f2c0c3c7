// Blocks its event loop for BLOCKS_MS at /block, and answers everything else at once.
import http from 'node:http';

const server = http.createServer((request, response) => {
  if (request.url === '/block') {
    const end = Date.now() + Number(process.env.BLOCKS_MS ?? 5000);
    while (Date.now() < end);
  }
  response.end(JSON.stringify({ pid: process.pid, url: request.url }));
});
server.listen(process.env.PORT);
process.on('SIGTERM', () => server.close(() => process.exit(0)) && server.closeIdleConnections());
