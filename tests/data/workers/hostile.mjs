// Answers `/case/NAME` with the bytes of that case of `tests/data/hostile/worker`, and everything else with its target.
import fs from 'node:fs';
import net from 'node:net';

import { parse } from '../hostile/notation.mjs';

const cases = new URL('../hostile/worker/', import.meta.url);

net
  .createServer((socket) => {
    let seen = '';
    socket.on('error', () => {});
    socket.on('data', (bytes) => {
      seen += bytes.toString('latin1');
      // No request here has a body.
      for (let end; (end = seen.indexOf('\r\n\r\n')) >= 0; ) {
        const target = seen.split(' ')[1];
        seen = seen.slice(end + 4);
        const name = /^\/case\/(\w+)$/.exec(target)?.[1];
        if (!name) {
          socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${target.length}\r\n\r\n${target}`);
          continue;
        }
        const { facts, bytes: answer } = parse(fs.readFileSync(new URL(`${name}.txt`, cases), 'utf8'));
        socket.write(answer);
        if (facts.then === 'closes') socket.end();
      }
    });
  })
  .listen(process.env.PORT);
process.on('SIGTERM', () => process.exit(0));
