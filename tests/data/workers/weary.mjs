// Well until told otherwise: `/sick` makes it answer its health path with 500, `/grow?mb=N` holds memory, `/fork?mb=N`
// has a child that does, `/block?ms=N` blocks the event loop, `/fail` lets every later start of it end at once,
// `/hang` never listen. With ILL_AFTER=N it answers its health path well N times only. `/asked` says how often its
// health was asked for. `/slow?ms=N` answers late, `/slow?until=FILE` once that file is there.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';

const flag = `${process.cwd()}/no-more-starts`;
if (fs.existsSync(flag)) {
  console.error('no more starts');
  process.exit(1);
}
const hangs = fs.existsSync(`${flag}-but-hanging`);
let sick = false;
let asked = 0;
const held = [];
const once = (file, done) => (fs.existsSync(file) ? done() : setTimeout(once, 20, file, done));
const block = (ms) => {
  const end = Date.now() + ms;
  while (Date.now() < end);
};

http
  .createServer((request, response) => {
    const url = new URL(request.url, 'http://worker');
    if (url.pathname === '/health') {
      asked += 1;
      response.statusCode = sick || asked > Number(process.env.ILL_AFTER ?? Infinity) ? 500 : 200;
    }
    if (url.pathname === '/asked') return response.end(String(asked));
    if (url.pathname === '/sick') sick = true;
    if (url.pathname === '/fail') fs.writeFileSync(flag, '');
    if (url.pathname === '/hang') fs.writeFileSync(`${flag}-but-hanging`, '');
    if (url.pathname === '/grow') held.push(Buffer.alloc(Number(url.searchParams.get('mb')) * 1024 * 1024, 1));
    if (url.pathname === '/fork') {
      const grow = `globalThis.held = Buffer.alloc(${Number(url.searchParams.get('mb'))} * 1024 * 1024, 1); setInterval(() => {}, 1000)`;
      spawn(process.execPath, ['-e', grow], { stdio: 'ignore' });
    }
    if (url.pathname === '/block') block(Number(url.searchParams.get('ms')));
    const until = url.searchParams.get('until');
    if (until) return once(until, () => response.end('slow'));
    if (url.pathname === '/slow') return setTimeout(() => response.end('slow'), Number(url.searchParams.get('ms')));
    response.end(String(process.pid));
  })
  .listen(hangs ? 0 : process.env.PORT);
