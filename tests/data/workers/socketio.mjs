// socket.io as most applications have it: sessions live in the worker's own memory.
import { createServer } from 'node:http';
import { createRequire } from 'node:module';

const { Server } = createRequire(new URL('../../node/package.json', import.meta.url))('socket.io');

const server = createServer((req, res) => {
  if (req.url === '/menu') res.setHeader('cache-control', 'public, max-age=60');
  res.end('ok');
});
const io = new Server(server);
io.on('connection', (socket) => {
  // Who answers, and how often this session has asked.
  let asked = 0;
  socket.on('ask', (answer) => answer({ pid: process.pid, asked: ++asked }));
});
server.listen(process.env.PORT);
process.on('SIGTERM', () => process.exit(0));
