// Kysely with its libSQL dialect against the SQLite door. The dialect takes `ws:` and `http:` URLs.
import assert from 'node:assert/strict';
import { createClient } from '@libsql/client';
import { LibsqlDialect } from '@libsql/kysely-libsql';
import { Kysely, sql } from 'kysely';

const client = createClient({ url: process.env.DATABASE_URL });
const db = new Kysely({ dialect: new LibsqlDialect({ client }) });

await db.schema
  .createTable('shops')
  .addColumn('id', 'integer', (column) => column.primaryKey())
  .addColumn('name', 'text', (column) => column.notNull().unique())
  .execute();
const made = await db.insertInto('shops').values({ name: 'navaja' }).executeTakeFirstOrThrow();
assert.equal(made.insertId, 1n);
await db.transaction().execute(async (tx) => {
  await tx.insertInto('shops').values({ name: 'tijera' }).execute();
  const seen = await tx.selectFrom('shops').selectAll().execute();
  assert.equal(seen.length, 2);
});
await assert.rejects(db.transaction().execute(async (tx) => {
  await tx.deleteFrom('shops').execute();
  await sql`INSERT INTO nowhere VALUES (1)`.execute(tx);
}));
const names = await db.selectFrom('shops').select('name').orderBy('name').execute();
assert.deepEqual(names, [{ name: 'navaja' }, { name: 'tijera' }]);
// Introspection asks through pragma functions.
const tables = await db.introspection.getTables();
assert.deepEqual(tables.map((table) => table.name), ['shops']);
await db.destroy();
client.close();
