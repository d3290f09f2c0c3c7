// Listens after a while, and answers its health path with 503 for a while longer.
import http from 'node:http';

const started = Date.now();
setTimeout(() => {
  http
    .createServer((request, response) => {
      response.statusCode = Date.now() - started > 800 ? 200 : 503;
      response.end();
    })
    .listen(process.env.PORT);
}, 400);
