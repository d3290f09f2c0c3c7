// Takes half a second to say goodbye when it is asked to end, and says so.
import http from 'node:http';

const server = http.createServer((request, response) => response.end(String(process.pid)));
server.listen(process.env.PORT);
process.on('SIGTERM', () => {
  setTimeout(() => {
    console.log('goodbye');
    process.exit(0);
  }, 500);
});
