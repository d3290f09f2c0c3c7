// Prisma's libSQL driver adapter against the SQLite door: what Prisma Client itself calls underneath.
import assert from 'node:assert/strict';
import { PrismaLibSql } from '@prisma/adapter-libsql';

const adapter = await new PrismaLibSql({ url: process.env.DATABASE_URL }).connect();
await adapter.executeScript('CREATE TABLE shops (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, seats BIGINT);');
const query = (sql, ...args) => ({
  sql,
  args,
  argTypes: args.map((arg) => ({ scalarType: typeof arg === 'number' ? 'int' : 'string', arity: 'scalar' })),
});
assert.equal(await adapter.executeRaw(query('INSERT INTO shops (name, seats) VALUES (?, ?)', 'navaja', 4)), 1);
const found = await adapter.queryRaw(query('SELECT id, name, seats FROM shops WHERE seats = ?', 4));
assert.deepEqual(found.columnNames, ['id', 'name', 'seats']);
assert.deepEqual(found.rows.map((row) => row.map(String)), [['1', 'navaja', '4']]);
await assert.rejects(adapter.executeRaw(query('INSERT INTO shops (name) VALUES (?)', 'navaja')));

const commits = await adapter.startTransaction();
await commits.executeRaw(query('INSERT INTO shops (name) VALUES (?)', 'tijera'));
await commits.commit();
const rolls = await adapter.startTransaction();
await rolls.executeRaw(query('DELETE FROM shops'));
await rolls.rollback();
const left = await adapter.queryRaw(query('SELECT count(*) AS n FROM shops'));
assert.equal(Number(left.rows[0][0]), 2);
await adapter.dispose();
