// Tells who closes its kept connections that have served a request, with Node's own timeouts.
import http from 'node:http';

const server = http.createServer((req, res) => {
  if (req.url === '/asked') req.socket.asked = true;
  res.end('ok');
});
server.on('connection', (socket) => {
  let ended = false;
  socket.on('end', () => (ended = true));
  socket.on('close', () => socket.asked && console.log(`closed by the ${ended ? 'gateway' : 'worker'}`));
});
server.listen(process.env.PORT);
