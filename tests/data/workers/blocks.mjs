// Blocks its event loop for BLOCKS_MS at /block, and answers everything else at once.
import http from 'node:http';

const server = http.createServer((request, response) => {
  if (request.url === '/block') {
    // As deaf as a busy loop, and the processors are left to the tests.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(process.env.BLOCKS_MS ?? 5000));
  }
  response.end(JSON.stringify({ pid: process.pid, url: request.url }));
});
server.listen(process.env.PORT);
process.on('SIGTERM', () => server.close(() => process.exit(0)) && server.closeIdleConnections());
