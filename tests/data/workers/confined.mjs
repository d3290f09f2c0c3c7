// Tells what it may: by paths it reads and writes, its process's status, names, TLS, a native module. Lies in a
// directory of its own with nothing beside it, so that nothing but the rules under test lets it run.
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { lookup } from 'node:dns/promises';
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
  '/signal': (query) => outcome(() => process.kill(Number(query.get('pid')), 0)),
  '/name': (query) => lookup(query.get('name')).then(({ address }) => address, (error) => error.code),
  '/tls': (query) =>
    fetched(query.get('url'), {
      ca: fs.readFileSync('ca.pem'),
      servername: query.get('name'),
      headers: { host: query.get('name'), origin: query.get('origin') },
    }),
  '/native': () => outcome(() => createRequire(import.meta.url)('./native.node')),
};

http
  .createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url, 'http://worker');
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(await routes[pathname]?.(searchParams) ?? null));
  })
  .listen(process.env.PORT);
process.on('SIGTERM', () => process.exit(0));
