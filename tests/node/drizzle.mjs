// Drizzle over @libsql/client against the SQLite door.
import assert from 'node:assert/strict';
import { createClient } from '@libsql/client';
import { eq, sql } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/libsql';
import { integer, sqliteTable, text } from 'drizzle-orm/sqlite-core';

const client = createClient({ url: process.env.DATABASE_URL });
const shops = sqliteTable('shops', {
  id: integer('id').primaryKey(),
  name: text('name').notNull().unique(),
  open: integer('open', { mode: 'boolean' }),
  since: integer('since', { mode: 'timestamp' }),
});
const db = drizzle(client, { schema: { shops } });

await db.run(sql`CREATE TABLE shops (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, open INTEGER, since INTEGER)`);
const since = new Date('2026-01-02T03:04:05Z');
const [made] = await db.insert(shops).values({ name: 'navaja', open: true, since }).returning();
assert.deepEqual(made, { id: 1, name: 'navaja', open: true, since });
assert.deepEqual(await db.query.shops.findFirst({ where: eq(shops.name, 'navaja') }), made);

await db.transaction(async (tx) => {
  await tx.update(shops).set({ open: false }).where(eq(shops.id, 1));
  const [seen] = await tx.select().from(shops);
  assert.equal(seen.open, false);
});
await assert.rejects(db.transaction(async (tx) => {
  await tx.delete(shops);
  tx.rollback();
}));
const [left] = await db.select({ n: sql`count(*)` }).from(shops);
assert.equal(left.n, 1);

const [one, two] = await db.batch([
  db.insert(shops).values({ name: 'tijera' }).returning({ id: shops.id }),
  db.select().from(shops),
]);
assert.deepEqual([one[0].id, two.length], [2, 2]);
client.close();
