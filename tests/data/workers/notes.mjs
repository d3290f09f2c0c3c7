// A backend with a database: the official client, opened with the ticket of the request in hand, as an application
// would. Routes let a test run any SQL with any ticket, because tests attack.

import { rmSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const require = createRequire(new URL('../../node/package.json', import.meta.url));
const { createClient } = require('@libsql/client');

const routes = {
  'GET /healthz': () => 'ok',
  'GET /ticket': (req) => ({ url: ticket(req) ?? null, tenant: req.headers['x-gateway-tenant'] ?? null, pid: process.pid }),
  'GET /notes': async (req) => rows(await client(req).execute('SELECT id, text FROM notes ORDER BY id')),
  'POST /notes': async (req, { text }) => {
    const { lastInsertRowid } = await client(req).execute({ sql: 'INSERT INTO notes (text) VALUES (?)', args: [text] });
    return { id: Number(lastInsertRowid) };
  },
  // {sql, args, url?}: any statement, with the own ticket or another's.
  'POST /sql': async (req, { sql, args = [], url }) => {
    const result = await client(req, url).execute({ sql, args });
    return { rows: rows(result), columns: result.columns, changed: result.rowsAffected };
  },
  'POST /script': async (req, { sql }) => (await client(req).executeMultiple(sql), { done: true }),
  'POST /batch': async (req, { statements, mode = 'write' }) => (await client(req).batch(statements, mode)).map(rows),
  // {statements, end: 'commit' | 'rollback' | 'leave', pauseMs}: an interactive transaction.
  'POST /transaction': async (req, { statements, end, pauseMs = 0 }) => {
    const transaction = await client(req).transaction('write');
    const answers = [];
    for (const statement of statements) answers.push(rows(await transaction.execute(statement)));
    await new Promise((go) => setTimeout(go, pauseMs));
    if (end === 'commit') await transaction.commit();
    if (end === 'rollback') await transaction.rollback();
    return answers;
  },
  // The same through Drizzle.
  'POST /drizzle': async (req, { text }) => {
    const { drizzle } = await import(pathToFileURL(require.resolve('drizzle-orm/libsql')));
    const { sqliteTable, integer, text: words } = await import(pathToFileURL(require.resolve('drizzle-orm/sqlite-core')));
    const notes = sqliteTable('notes', { id: integer('id').primaryKey(), text: words('text').notNull() });
    const db = drizzle(client(req));
    const written = await db.insert(notes).values({ text }).returning();
    const counted = await db.transaction(async (tx) => {
      await tx.insert(notes).values({ text: `${text} again` });
      return tx.select().from(notes).orderBy(notes.id);
    });
    return { written, counted };
  },
};

const ticket = (req) => req.headers['x-gateway-database-url'];

function client(req, url = ticket(req)) {
  if (!url) throw Object.assign(new Error('no ticket'), { status: 401 });
  return createClient({ url });
}

const rows = (result) => result.rows.map((row) => Object.fromEntries(result.columns.map((name) => [name, row[name]])));

const server = http.createServer(async (req, res) => {
  const { pathname } = new URL(req.url, 'http://worker');
  let text = '';
  for await (const piece of req) text += piece;
  let [status, answer] = [404, { error: `nothing at ${req.method} ${pathname}` }];
  const route = routes[`${req.method} ${pathname}`];
  if (route) {
    try {
      [status, answer] = [200, await route(req, text ? JSON.parse(text) : {})];
    } catch (error) {
      [status, answer] = [error.status ?? 500, { error: error.message, code: error.code ?? null, name: error.name }];
    }
  }
  res.writeHead(status, { 'content-type': 'application/json' });
  res.end(JSON.stringify(answer, (_, value) => (typeof value === 'bigint' ? Number(value) : value)));
});

const { PORT } = process.env;
const port = /^\d+$/.test(PORT);
if (!port) rmSync(PORT, { force: true });
server.listen(port ? { port: Number(PORT), host: '127.0.0.1' } : { path: PORT });
process.on('SIGTERM', () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
