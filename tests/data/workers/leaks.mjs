// Keeps a megabyte of each request for ever.
import http from 'node:http';

const kept = [];
const server = http.createServer((request, response) => {
  if (request.url !== '/healthz') kept.push(Buffer.alloc(1024 * 1024, kept.length));
  request.resume().on('end', () => setTimeout(() => response.end(String(process.pid)), 5));
});
server.listen(process.env.PORT);
process.on('SIGTERM', () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
