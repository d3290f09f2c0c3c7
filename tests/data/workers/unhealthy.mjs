// Listens, and is never well.
import http from 'node:http';

http.createServer((request, response) => response.writeHead(500).end()).listen(process.env.PORT);
