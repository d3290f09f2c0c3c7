// One API for every shop. There is no CORS code, no list of shops and no database password here: the gateway
// has answered the preflight, refused strangers, and put the shop's database into the request.

import { rmSync } from 'node:fs';
import express from 'express';
import { isDate, now, parseSlot, timesBetween, weekday } from './calendar.js';
import { db } from './db.js';

const app = express();
app.disable('x-powered-by');
app.use(express.json({ limit: '10kb' }));

// Ready and well? No database: this asks about the worker, and no shop is known here.
app.get('/healthz', (req, res) => {
  res.json({ status: 'ok' });
});

app.get('/api/shop', async (req, res) => {
  const [shop, hours] = await db(req).batch(
    [
      'SELECT name, tagline, address, paper, ink, accent, slot_minutes FROM shop',
      'SELECT weekday, opens, closes FROM hours ORDER BY weekday',
    ],
    'read',
  );
  res.json({ ...shop.rows[0], hours: hours.rows });
});

app.get('/api/slots', async (req, res) => {
  const { date } = req.query;
  if (!isDate(date)) throw refuse(400, 'Write the day as ?date=YYYY-MM-DD.');
  const times = await openTimes(req, date);
  const taken = await db(req).execute({
    sql: 'SELECT slot FROM bookings WHERE slot >= :from AND slot < :to',
    args: { from: `${date}T00:00`, to: `${date}T24:00` },
  });
  const busy = new Set(taken.rows.map((row) => row.slot));
  const minute = now();
  const slots = times.map((time) => {
    const slot = `${date}T${time}`;
    return { slot, time, free: !busy.has(slot) && slot > minute };
  });
  res.json({ date, closed: slots.length === 0, slots });
});

app.get('/api/bookings', async (req, res) => {
  const { rows } = await db(req).execute({
    sql: 'SELECT id, slot, name FROM bookings WHERE slot >= ? ORDER BY slot LIMIT 200',
    args: [now().slice(0, 10)],
  });
  res.json({ bookings: rows });
});

app.post('/api/bookings', async (req, res) => {
  const { slot, name } = checkBooking(req.body);
  const { date, time } = parseSlot(slot);
  if (!(await openTimes(req, date)).includes(time)) throw refuse(400, 'The shop does not work at that time.');
  if (slot <= now()) throw refuse(400, 'That time has passed.');
  // The UNIQUE constraint decides, in the database: asking first and inserting after would let two in.
  const { rows } = await db(req).execute({
    sql: 'INSERT INTO bookings (slot, name) VALUES (?, ?) ON CONFLICT (slot) DO NOTHING RETURNING id, slot, name',
    args: [slot, name],
  });
  if (rows.length === 0) throw refuse(409, 'Somebody has just taken that time. Choose another one.');
  res.status(201).json(rows[0]);
});

app.use((req) => {
  throw refuse(404, `There is nothing at ${req.method} ${req.path}.`);
});

// Errors become answers here and nowhere else. What we did not mean to say stays in the log.
app.use((error, req, res, next) => {
  const status = error.expose && error.status < 500 ? error.status : 500;
  if (status === 500) console.error(`request ${req.get('x-request-id')} failed:`, error);
  if (res.headersSent) return next(error);
  const detail = status === 500 ? 'The shop could not do that. Try again in a moment.' : error.message;
  res.status(status).type('application/problem+json').send(JSON.stringify({ status, detail }));
});

/** The times of a day at which this shop works; none when it is closed. */
async function openTimes(req, date) {
  const { rows } = await db(req).execute({
    sql: 'SELECT opens, closes, slot_minutes FROM hours, shop WHERE weekday = ?',
    args: [weekday(date)],
  });
  return rows.flatMap((row) => timesBetween(row.opens, row.closes, row.slot_minutes));
}

/** The body of a booking, or a 400 that says what is wrong with it. */
function checkBooking(body) {
  const { slot, name } = body ?? {};
  if (!parseSlot(slot)) throw refuse(400, 'Write `slot` as YYYY-MM-DDTHH:MM.');
  if (typeof name !== 'string' || name.trim() === '') throw refuse(400, 'Write your `name`.');
  if ([...name.trim()].length > 80) throw refuse(400, '`name` has at most 80 characters.');
  if (/\p{Cc}/u.test(name)) throw refuse(400, '`name` is one line of text.');
  return { slot, name: name.trim() };
}

/** An error whose text the customer may read. */
function refuse(status, detail) {
  return Object.assign(new Error(detail), { status, expose: true });
}

// PORT is a Unix socket's path under the gateway, or a number.
const port = process.env.PORT ?? '3000';
const address = /^\d+$/.test(port) ? { port: Number(port), host: '127.0.0.1' } : { path: port };
if (address.path) rmSync(address.path, { force: true }); // left behind by a worker that was killed
const server = app.listen(address, (error) => {
  if (error) throw error;
  console.log(`listening on ${port}`);
});

// Finish what has begun, take nothing new, and go.
process.on('SIGTERM', () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
