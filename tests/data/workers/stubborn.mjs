// Ignores SIGTERM, and so do its two descendants, of which one lives on when its parent is gone.
import { spawn } from 'node:child_process';
import http from 'node:http';

process.on('SIGTERM', () => console.log('no'));
const child = 'process.on("SIGTERM", () => {}); setInterval(() => {}, 1000)';
const children = [1, 2].map(() => spawn(process.execPath, ['-e', child], { stdio: 'inherit' }).pid);
http
  .createServer((request, response) => response.end(JSON.stringify({ children })))
  .listen(process.env.PORT);
