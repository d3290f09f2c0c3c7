// A backend that speaks WebSocket by hand, well or badly as the path asks: what libraries would never do. What it
// heard can be asked for at /seen. It does not handle SIGTERM: its connections end with it.

import { createHash } from 'node:crypto';
import { rmSync } from 'node:fs';
import http from 'node:http';

const events = [];
const progress = { sent: 0, received: 0 };

/** A text frame as servers send it. */
function frame(text) {
  const payload = Buffer.from(text);
  const head = payload.length < 126 ? [0x81, payload.length] : [0x81, 126, payload.length >> 8, payload.length & 255];
  return Buffer.concat([Buffer.from(head), payload]);
}

const routes = {
  // Says nothing, hears everything.
  '/silent': (socket) => {
    socket.on('data', (data) => events.push(`heard ${data.toString('hex')}`));
    socket.on('end', () => events.push('silent: heard the end'));
  },
  // Goes on after the client's half-close.
  '/client-half': (socket) => {
    socket.resume();
    socket.on('end', () => {
      events.push('client-half: heard the end');
      let sent = 0;
      const timer = setInterval(() => {
        socket.write(frame(`still here ${++sent}`));
        if (sent === 3) {
          clearInterval(timer);
          socket.end();
        }
      }, 50);
    });
  },
  // Ends its own half at once, and listens on.
  '/worker-half': (socket) => {
    socket.end(frame('my last word'));
    let bytes = 0;
    socket.on('data', (data) => (bytes += data.length));
    socket.on('end', () => events.push(`worker-half: heard ${bytes} bytes and the end`));
  },
  // Half a frame; the other half comes when it hears something, such as a goodbye.
  '/half-frame': (socket) => {
    const whole = frame('in one piece');
    socket.write(whole.subarray(0, 5));
    socket.once('data', (data) => {
      events.push(`half-frame: heard ${data.length} bytes`);
      socket.write(whole.subarray(5));
    });
  },
  // Sends as fast as it is let.
  '/flood': (socket) => {
    const piece = frame('x'.repeat(16_380));
    const go = () => {
      while (progress.sent < 4096 * piece.length) {
        progress.sent += piece.length;
        if (!socket.write(piece)) return socket.once('drain', go);
      }
      return socket.end();
    };
    go();
  },
  // Reads nothing until it is asked to.
  '/deaf': (socket) => {
    socket.pause();
    wake = () => {
      socket.on('data', (data) => (progress.received += data.length));
      socket.on('end', () => socket.end());
      socket.resume();
    };
  },
};
let wake = () => {};

const accept = (key) => createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');

const server = http.createServer((req, res) => {
  if (req.url === '/wake') wake();
  res.setHeader('content-type', 'application/json');
  res.end(JSON.stringify({ events, progress, version: req.httpVersion }));
});

server.on('upgrade', (req, socket) => {
  const path = new URL(req.url, 'http://worker').pathname;
  events.push(`upgrade ${req.method} ${path}`);
  socket.on('error', (error) => events.push(`${path}: ${error.code}`));
  // What is no switch.
  if (path === '/ignores') return socket.end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno');
  const proof = path === '/lies' ? 'bm8gcHJvb2Y=' : accept(req.headers['sec-websocket-key']);
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${proof}\r\n\r\n`,
  );
  return routes[path]?.(socket);
});

rmSync(process.env.PORT, { force: true });
server.listen({ path: process.env.PORT });
