// Listens at once, except as the worker FAIL_WORKER, where it fails, or HANG_WORKER, where it never does. `/health` answers 200, `/slow?ms=N` answers late,
// and everything else tells what it was started with.
import fs from 'node:fs';
import http from 'node:http';

if (process.env.FAIL_WORKER && process.env.FAIL_WORKER === process.env.GATEWAY_WORKER) {
  console.error(`worker ${process.env.FAIL_WORKER} fails on purpose`);
  process.exit(1);
}

const descriptors = () =>
  fs.readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [fs.readlinkSync(`/proc/self/fd/${fd}`)];
    } catch {
      return []; // The listing's own.
    }
  });

const server = http.createServer((request, response) => {
  const url = new URL(request.url, 'http://worker');
  if (url.pathname === '/health') return response.end('well');
  if (url.pathname === '/slow') return setTimeout(() => response.end('slow'), Number(url.searchParams.get('ms')));
  const { pid, env, argv } = process;
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ pid, env, argv: argv.slice(2), directory: process.cwd(), descriptors: descriptors() }));
});
const hangs = process.env.HANG_WORKER && process.env.HANG_WORKER === process.env.GATEWAY_WORKER;
if (hangs) setInterval(() => {}, 60_000);
else server.listen(process.env.PORT, () => console.log(`listening, ${process.env.LABEL ?? 'unlabelled'}`));
process.on('SIGTERM', () => {
  console.log('bye');
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
