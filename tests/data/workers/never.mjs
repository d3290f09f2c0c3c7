// Runs and never listens on PORT, but on a port of its own choice, as many an example does.
import http from 'node:http';

const server = http.createServer((request, response) => response.end());
server.listen(0, '127.0.0.1', () => console.log(`listening on ${server.address().port}`));
