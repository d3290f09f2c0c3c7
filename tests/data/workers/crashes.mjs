// Gets ready and crashes when it is asked for `/crash`.
import http from 'node:http';

http
  .createServer((request, response) => {
    if (request.url === '/crash') throw new Error('thrown on purpose');
    response.end(String(process.pid));
  })
  .listen(process.env.PORT);
