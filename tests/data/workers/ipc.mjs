// Ready when it says so over Node's own channel, some time after it listens. Ends by the message `shutdown`, and
// then leaves a file behind; SIGTERM ends it without one. With DEAF it closes the channel when it is ready. With HANDLE it
// has sent a socket before, which Node wants to be acknowledged; with LONG nothing but a message beyond all bounds, the end of
// which looks like `ready`.
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';

process.send({ hello: 'nobody listens to this' });
if (process.env.LONG) process.send(`${'x'.repeat(64 * 1024 - 2)}"ready`);
if (process.env.HANDLE) {
  const handle = net.createServer().listen(0, '127.0.0.1', () => process.send({ take: 'this' }, handle));
}
const server = http.createServer((request, response) => {
  response.end(JSON.stringify({ connected: process.connected, waited: process.uptime() > 0.4 }));
});
server.listen(process.env.PORT, () =>
  process.env.LONG || setTimeout(() => process.send('ready', () => process.env.DEAF && process.disconnect()), 400),
);
if (process.env.DEAF) {
  process.on('SIGTERM', () => {
    fs.writeFileSync('goodbye', 'by signal');
    process.exit(0);
  });
}
process.on('message', (message) => {
  if (message !== 'shutdown') return;
  fs.writeFileSync('goodbye', 'said');
  process.exit(0);
});
