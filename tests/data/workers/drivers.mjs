// A backend over one of the documented `db(req)`: DRIVER is its file, KIND the driver's name. It writes and reads the
// notes of the request's tenant.

import { rmSync } from 'node:fs';
import http from 'node:http';
import { pathToFileURL } from 'node:url';

const { DRIVER, KIND, PORT } = process.env;
const { db } = await import(pathToFileURL(DRIVER).href);

// A statement in the driver's own words.
const run = {
  libsql: async (req, sql) => (await db(req).execute(sql)).rows,
  drizzle: async (req, sql) => db(req).all(sql),
  kysely: async (req, sql) => (await db(req).executeQuery({ sql, parameters: [] })).rows,
}[KIND];

rmSync(PORT, { force: true });
http.createServer(async (req, res) => {
  if (req.url === '/healthz') return res.end('ok');
  try {
    if (req.method === 'POST') await run(req, "INSERT INTO notes (text) VALUES ('by " + KIND + "') RETURNING id");
    res.end(JSON.stringify(await run(req, 'SELECT text FROM notes ORDER BY id')));
  } catch (error) {
    res.writeHead(500).end(String(error.stack));
  }
}).listen({ path: PORT });
process.on('SIGTERM', () => process.exit(0));
