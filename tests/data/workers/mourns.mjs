// Writes down that its gateway has gone, and goes on all the same. Two programs are in its care: one in its own group and
// one in a session of its own, both deaf to whatever asks them to end.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';

const deaf = 'for (const name of ["SIGTERM", "SIGHUP"]) process.on(name, () => {}); setInterval(() => {}, 1000)';
const children = [true, false].map((detached) => {
  const child = spawn(process.execPath, ['-e', deaf], { detached, stdio: 'ignore' });
  child.unref();
  return child.pid;
});
process.on('disconnect', () => fs.writeFileSync(path.join(process.env.TEST_SITE, 'disconnected'), String(process.pid)));
process.on('SIGTERM', () => {});
http.createServer((request, response) => response.end(JSON.stringify(children))).listen(process.env.PORT);
