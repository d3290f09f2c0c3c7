// Starts two programs in sessions of their own, one of which ignores SIGTERM, and forgets them.
import { spawn } from 'node:child_process';
import http from 'node:http';

const programs = ['setInterval(() => {}, 1000)', 'process.on("SIGTERM", () => {}); setInterval(() => {}, 1000)'];
const children = programs.map((text) => {
  const child = spawn(process.execPath, ['-e', text], { detached: true, stdio: 'ignore' });
  child.unref();
  return child.pid;
});
http.createServer((request, response) => response.end(JSON.stringify(children))).listen(process.env.PORT);
