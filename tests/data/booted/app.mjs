// An application as it is deployed: it listens where it is told, keeps a file, and knows who it is.

import { readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';

const routes = {
  '/healthz': () => 'ok',
  '/who': () => JSON.stringify({ pid: process.pid, uid: process.getuid() }),
  // What the kernel grants this process.
  '/status': () => readFileSync('/proc/self/status', 'utf8'),
  // /write?/path: may it?
  '/write': (path) => {
    try {
      writeFileSync(path, 'written');
      return 'written';
    } catch (error) {
      return error.code;
    }
  },
};

http
  .createServer((req, res) => {
    const [path, query] = req.url.split('?');
    res.end(routes[path]?.(query) ?? 'hello');
  })
  .listen(process.env.PORT);
