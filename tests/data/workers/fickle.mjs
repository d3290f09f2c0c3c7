// Closes kept connections when it likes: some with the answer, some a moment after it, as servers do whose patience
// with idle connections ends just when the next request comes.
import http from 'node:http';

let answers = 0;
const server = http.createServer((request, response) => {
  answers += 1;
  const { socket } = request;
  response.end(JSON.stringify({ pid: process.pid, url: request.url }), () => {
    if (request.url === '/healthz') return;
    if (answers % 3 === 0) setTimeout(() => socket.destroy(), answers % 7);
    else if (answers % 5 === 0) setImmediate(() => socket.end());
  });
});
server.keepAliveTimeout = 20;
server.listen(process.env.PORT);
process.on('SIGTERM', () => server.close(() => process.exit(0)) && server.closeIdleConnections());
