// Tells what it may: by paths it reads and writes, its process's status, names, TLS, a native module. Lies in a
// directory of its own with nothing beside it, so that nothing but the rules under test lets it run.
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { lookup, resolve4 } from 'node:dns/promises';
import { createRequire } from 'node:module';
import os from 'node:os';

// What became of it: "done", or the error's code.
const outcome = (act) => {
  try {
    act();
    return 'done';
  } catch (error) {
    return error.code ?? error.message;
  }
};

const fetched = (url, options) =>
  new Promise((resolve) => {
    https
      .get(url, options, (answer) => {
        answer.resume();
        answer.on('end', () => resolve(answer.statusCode));
      })
      .on('error', (error) => resolve(error.code ?? error.message));
  });

// What the socket's owner answers to an order.
const answered = (socketPath, path) =>
  new Promise((resolve) => {
    http
      .get({ socketPath, path }, (answer) => {
        answer.resume();
        answer.on('end', () => resolve(answer.statusCode));
      })
      .on('error', (error) => resolve(error.code ?? error.message));
  });

// The same asked by a process that is nobody's child any more, and in no group or session of ours.
const answeredToAnOrphan = (socketPath, path) => {
  const told = `${os.tmpdir()}/told`;
  const asks = `
    const [socketPath, path, told] = process.argv.slice(1);
    const tell = (text) => { fs.writeFileSync(told + '.new', String(text)); fs.renameSync(told + '.new', told); };
    http.get({ socketPath, path }, ({ statusCode }) => { tell(statusCode); process.exit(); })
      .on('error', (error) => tell(error.code));`;
  const words = ['--fork', process.execPath, '-e', asks, socketPath, path, told];
  return new Promise((resolve) => {
    spawn('setsid', words, { stdio: 'ignore' }).on('exit', () => {
      const look = setInterval(() => {
        if (!fs.existsSync(told)) return;
        clearInterval(look);
        resolve(fs.readFileSync(told, 'utf8'));
      }, 20);
    });
  });
};

// What a browser has drawn, as Playwright starts it; the sandbox is the browser's own.
const drawn = async (chromiumSandbox) => {
  const { chromium } = createRequire(import.meta.url)('playwright-core');
  const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', chromiumSandbox });
  try {
    const page = await browser.newPage();
    await page.setContent('<body></body>');
    await page.evaluate(() => (document.body.textContent = `drawn ${6 * 7}`));
    const pdf = await page.pdf();
    return `${await page.textContent('body')} ${pdf.subarray(0, 4)}`;
  } finally {
    await browser.close();
  }
};

const routes = {
  '/healthz': () => 'ok',
  '/self': () => ({
    status: fs.readFileSync('/proc/self/status', 'utf8'),
    limits: fs.readFileSync('/proc/self/limits', 'utf8'),
    env: process.env,
    home: os.homedir(),
    temporary: os.tmpdir(),
    socket: fs.statSync(process.env.PORT).mode & 0o777,
  }),
  '/read': (query) =>
    outcome(() => (fs.statSync(query.get('path')).isDirectory() ? fs.readdirSync : fs.readFileSync)(query.get('path'))),
  '/list': (query) => outcome(() => fs.readdirSync(query.get('path'))),
  '/write': (query) => outcome(() => fs.writeFileSync(query.get('path'), 'written')),
  '/append': (query) => outcome(() => fs.closeSync(fs.openSync(query.get('path'), 'a'))),
  '/copy': (query) => outcome(() => fs.copyFileSync(query.get('from'), query.get('path'))),
  '/exec': (query) => outcome(() => execFileSync(query.get('path'), { stdio: 'ignore' })),
  // A link in the place of the own socket, which goes on to be listened on without a name.
  '/replace': (query) =>
    outcome(() => {
      fs.unlinkSync(process.env.PORT);
      fs.symlinkSync(query.get('target'), process.env.PORT);
    }),
  '/order': (query) => answered(query.get('socket'), query.get('path')),
  '/orphan': (query) => answeredToAnOrphan(query.get('socket'), query.get('path')),
  '/signal': (query) => outcome(() => process.kill(Number(query.get('pid')), 0)),
  '/name': (query) => lookup(query.get('name')).then(({ address }) => address, (error) => error.code),
  // By the name servers themselves, without the C library.
  '/resolve': (query) => resolve4(query.get('name')).then(([address]) => address, (error) => error.code),
  // As applications ask others: by name, with whatever authorities Node trusts by itself.
  '/fetch': (query) =>
    fetch(query.get('url')).then(({ status }) => status, (error) => error.cause?.code ?? error.message),
  '/tls': (query) =>
    fetched(query.get('url'), {
      ca: fs.readFileSync('ca.pem'),
      servername: query.get('name'),
      headers: { host: query.get('name'), origin: query.get('origin') },
    }),
  '/browser': (query) => drawn(query.has('own')).catch((error) => error.message),
  '/native': () => outcome(() => createRequire(import.meta.url)('./native.node')),
};

http
  .createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url, 'http://worker');
    response.setHeader('content-type', 'application/json');
    if (pathname === '/replace') response.setHeader('connection', 'close');
    response.end(JSON.stringify(await routes[pathname]?.(searchParams) ?? null));
  })
  .listen(process.env.PORT);
process.on('SIGTERM', () => process.exit(0));
