// Books what is posted, where it outlives this process, and answers a little later: a kill comes in between.
import { appendFileSync } from 'node:fs';
import http from 'node:http';

http
  .createServer((req, res) => {
    if (req.method !== 'POST') return res.end('ok');
    req.resume().once('end', () => {
      appendFileSync(process.env.LEDGER, `${req.url.split('/').pop()}\n`);
      setTimeout(() => res.writeHead(201).end(), 10);
    });
  })
  .listen(process.env.PORT);
process.on('SIGTERM', () => process.exit(0));
