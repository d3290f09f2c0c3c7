// An application as it is deployed: it listens where it is told, keeps a file, and knows who it is.

import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { createRequire } from 'node:module';
import os from 'node:os';

const routes = {
  '/healthz': () => 'ok',
  '/secret': () => (process.env.SHOP_SECRET ? 'known' : 'missing'),
  // One more note, and all of them: in the tenant's own database, or where all of them were before.
  '/notes': async (text, req) => {
    const { db } = await import('./db.mjs');
    await db(req).execute('CREATE TABLE IF NOT EXISTS note (text TEXT)');
    if (text) await db(req).execute({ sql: 'INSERT INTO note VALUES (?)', args: [text] });
    const { rows } = await db(req).execute('SELECT text FROM note ORDER BY rowid');
    return rows.map((row) => row.text).join(' ');
  },
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
  // A native module, with its own threads.
  '/native': () => {
    const Database = createRequire(import.meta.url)('libsql');
    return JSON.stringify(new Database(':memory:').prepare('select 1 + 1 as two').get());
  },
  // DNS and TLS out, to /out?host, by the authorities that Node trusts by itself.
  '/out': (host) =>
    new Promise((resolve, reject) => {
      const request = https.get({ host, path: '/', headers: { host } }, (answer) => {
        answer.setEncoding('utf8').once('data', (text) => resolve(`${answer.statusCode} ${text}`));
      });
      request.once('error', reject);
    }),
  '/cpus': () => String(os.cpus().length),
  // A page that a browser has drawn with its own sandbox, as Puppeteer does it.
  '/browser': (page) =>
    new Promise((resolve) => {
      const directory = mkdtempSync(`${os.tmpdir()}/browser-`);
      const flags = ['--headless', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run', '--disable-breakpad'];
      const words = [...flags, `--user-data-dir=${directory}`, '--virtual-time-budget=5000', '--dump-dom', page];
      const env = { ...process.env, LD_LIBRARY_PATH: process.env.BROWSER_LIBRARIES, HOME: directory };
      execFile(process.env.BROWSER, words, { env, timeout: 60_000 }, (error, out, complaint) =>
        resolve(error ? `${error}\n${complaint}` : out),
      );
    }),
  '/interfaces': () => Object.keys(os.networkInterfaces()).sort().join(' '),
};

http
  .createServer(async (req, res) => {
    const [path, query] = req.url.split('?');
    try {
      res.end((await routes[path]?.(query, req)) ?? 'hello');
    } catch (error) {
      res.end(String(error));
    }
  })
  .listen(process.env.PORT);
