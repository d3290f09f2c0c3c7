// @libsql/client against the SQLite door, as an application would use it. DATABASE_URL comes from the gateway.
import assert from 'node:assert/strict';
import { createClient } from '@libsql/client';

const db = createClient({ url: process.env.DATABASE_URL });

await db.executeMultiple(`
  CREATE TABLE shops (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, rate REAL, logo BLOB);
  CREATE TABLE bookings (id INTEGER PRIMARY KEY, shop INTEGER NOT NULL REFERENCES shops (id), at INTEGER);
`);

// One statement: numbers, names, blobs, big integers, booleans, dates.
const inserted = await db.execute({
  sql: 'INSERT INTO shops (name, rate, logo) VALUES (:name, @rate, $logo)',
  args: { name: 'navaja', rate: 1.5, logo: new Uint8Array([0, 255, 7]) },
});
assert.equal(inserted.rowsAffected, 1);
assert.equal(inserted.lastInsertRowid, 1n);
const { rows, columns, columnTypes } = await db.execute({
  sql: 'SELECT id, name, rate, logo, typeof(?) AS kind FROM shops WHERE id = ?',
  args: [7, 1],
});
assert.deepEqual(columns, ['id', 'name', 'rate', 'logo', 'kind']);
assert.deepEqual(columnTypes, ['INTEGER', 'TEXT', 'REAL', 'BLOB', '']);
assert.equal(rows[0].id, 1);
assert.equal(rows[0].name, 'navaja');
assert.equal(rows[0].rate, 1.5);
assert.deepEqual(new Uint8Array(rows[0].logo), new Uint8Array([0, 255, 7]));
assert.equal(rows[0].kind, 'integer');
const big = createClient({ url: process.env.DATABASE_URL, intMode: 'bigint' });
const wide = await big.execute({ sql: 'SELECT ? AS x, ? AS yes', args: [9007199254740993n, true] });
assert.equal(wide.rows[0].x, 9007199254740993n);
assert.equal(wide.rows[0].yes, 1n);

// Errors carry SQLite's code.
await assert.rejects(db.execute("INSERT INTO shops (name) VALUES ('navaja')"), {
  code: 'SQLITE_CONSTRAINT',
  message: /UNIQUE constraint failed: shops.name/,
});
await assert.rejects(db.execute('INSERT INTO bookings (shop) VALUES (99)'), { code: 'SQLITE_CONSTRAINT' });
await assert.rejects(db.execute({ sql: 'SELECT ?', args: [] }), { code: 'ARGS_INVALID' });
await assert.rejects(db.execute("ATTACH '/tmp/other.db' AS other"), { code: 'SQLITE_AUTH' });

// A batch is all or nothing.
await db.batch(
  [
    { sql: 'INSERT INTO bookings (shop, at) VALUES (?, ?)', args: [1, 10] },
    { sql: 'INSERT INTO bookings (shop, at) VALUES (?, ?)', args: [1, 20] },
  ],
  'write',
);
await assert.rejects(
  db.batch(['INSERT INTO bookings (shop, at) VALUES (1, 30)', 'INSERT INTO nowhere VALUES (1)'], 'write'),
);
const count = async () => Number((await db.execute('SELECT count(*) AS n FROM bookings')).rows[0].n);
assert.equal(await count(), 2);
const read = await db.batch(['SELECT 1 AS x', 'SELECT 2 AS x'], 'read');
assert.deepEqual(read.map((result) => result.rows[0].x), [1, 2]);

// Interactive transactions: committed, rolled back, closed, read-only.
const commits = await db.transaction('write');
await commits.execute('INSERT INTO bookings (shop, at) VALUES (1, 40)');
await commits.executeMultiple('INSERT INTO bookings (shop, at) VALUES (1, 50); SELECT 1;');
assert.equal(await count(), 2, 'others see nothing before the commit');
await commits.commit();
assert.equal(await count(), 4);
const rolls = await db.transaction('deferred');
await rolls.execute('DELETE FROM bookings');
await rolls.rollback();
const closes = await db.transaction('write');
await closes.batch(['DELETE FROM bookings']);
closes.close();
assert.equal(await count(), 4);
const reads = await db.transaction('read');
await assert.rejects(reads.execute('DELETE FROM bookings'), { code: 'SQLITE_READONLY' });
reads.close();

// Migrations as the client runs them, with foreign keys off in between, and on again for everybody after.
await db.migrate([
  'CREATE TABLE new_bookings (id INTEGER PRIMARY KEY, shop INTEGER NOT NULL REFERENCES shops (id), at INTEGER, note TEXT)',
  'INSERT INTO new_bookings (id, shop, at) SELECT id, shop, at FROM bookings',
  'DROP TABLE bookings',
  'ALTER TABLE new_bookings RENAME TO bookings',
]);
assert.equal(await count(), 4);
await assert.rejects(db.execute('INSERT INTO bookings (shop) VALUES (99)'), { code: 'SQLITE_CONSTRAINT' });

// Many at a time.
await Promise.all(Array.from({ length: 50 }, (_, n) =>
  db.execute({ sql: 'INSERT INTO bookings (shop, at) VALUES (1, ?)', args: [n] })));
assert.equal(await count(), 54);
db.close();
big.close();
