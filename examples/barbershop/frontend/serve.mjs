// A tiny static server for the demo pages: `node serve.mjs navaja:5173 barba:5174`. Loopback only.
//
// Every shop gets the same files from a port, and so from an origin, of its own. Nothing here knows the API: the page
// calls the gateway across origins, as a page on somebody else's hosting would.

import { createReadStream } from 'node:fs';
import http from 'node:http';
import { fileURLToPath } from 'node:url';

const api = {
  http: process.env.API_HTTP ?? 'http://localhost:8080',
  https: process.env.API_HTTPS ?? 'https://localhost:8443',
};
// How the page spells the commands that it suggests.
const gateway = process.env.GATEWAY_COMMAND ?? 'gateway';

const FILES = {
  '/': ['index.html', 'text/html; charset=utf-8'],
  '/app.js': ['app.js', 'text/javascript; charset=utf-8'],
  '/api.js': ['api.js', 'text/javascript; charset=utf-8'],
  '/style.css': ['style.css', 'text/css; charset=utf-8'],
  '/icon.svg': ['icon.svg', 'image/svg+xml'],
};

const HEADERS = {
  'cache-control': 'no-cache',
  'content-security-policy': `default-src 'self'; connect-src 'self' ${api.http} ${api.https}; frame-ancestors 'none'`,
  'x-content-type-options': 'nosniff',
};

const shops = process.argv.slice(2).map((argument) => {
  const [, shop, port] = /^([a-z0-9-]+):(\d+)$/.exec(argument) ?? [];
  if (!shop) fail(`"${argument}" is no SHOP:PORT, such as navaja:5173`);
  return { shop, port: Number(port) };
});
if (shops.length === 0) fail('say which shops to serve: node serve.mjs navaja:5173 barba:5174');

const servers = shops.map(({ shop, port }) => {
  const server = http.createServer((req, res) => answer(req, res, shop));
  server.on('error', (error) => {
    if (error.code === 'EADDRINUSE') fail(`port ${port} is in use; end what listens there, or choose another port for ${shop}`);
    fail(error.message);
  });
  return server.listen(port, '127.0.0.1', () => console.log(`${shop}: http://localhost:${server.address().port}`));
});

function answer(req, res, shop) {
  if (req.method !== 'GET' && req.method !== 'HEAD') return end(res, 405, 'only GET here\n');
  const [path] = req.url.split('?');
  if (path === '/config.json') {
    res.writeHead(200, { ...HEADERS, 'content-type': 'application/json' });
    return res.end(JSON.stringify({ shop, api, gateway }));
  }
  const [file, type] = FILES[path] ?? [];
  if (!file) return end(res, 404, 'not found\n');
  res.writeHead(200, { ...HEADERS, 'content-type': type });
  if (req.method === 'HEAD') return res.end();
  createReadStream(fileURLToPath(new URL(file, import.meta.url))).on('error', () => res.destroy()).pipe(res);
}

function end(res, status, text) {
  res.writeHead(status, { ...HEADERS, 'content-type': 'text/plain; charset=utf-8' });
  res.end(text);
}

function fail(message) {
  console.error(`error: ${message}`);
  process.exit(1);
}

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    for (const server of servers) server.close();
    for (const server of servers) server.closeAllConnections();
  });
}
