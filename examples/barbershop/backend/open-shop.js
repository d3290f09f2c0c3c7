// Gives a new shop its name and colours, once: `gateway tenant exec navaja -- node open-shop.js navaja`.
//
// This is work without a request. The gateway runs it with the tenant's DATABASE_URL, a ticket like the one a request
// carries, so a script needs no password either. A shop that is open already stays as it is.

import { createClient } from '@libsql/client/http';
import shops from './shops.json' with { type: 'json' };

const id = process.argv[2] ?? process.env.GATEWAY_TENANT;
const { closed, ...shop } = shops[id] ?? {};
if (!shop.name) {
  console.error(`shops.json knows no shop "${id}"; it has ${Object.keys(shops).join(', ')}`);
  process.exit(1);
}

const client = createClient({ url: process.env.DATABASE_URL });
const [{ rowsAffected }] = await client.batch(
  [
    {
      sql: `UPDATE shop SET name = :name, tagline = :tagline, address = :address, paper = :paper, ink = :ink,
              accent = :accent, slot_minutes = :slot_minutes WHERE opened_on IS NULL`,
      args: shop,
    },
    ...closed.map((weekday) => ({
      sql: 'DELETE FROM hours WHERE weekday = ? AND (SELECT opened_on FROM shop) IS NULL',
      args: [weekday],
    })),
    "UPDATE shop SET opened_on = date('now') WHERE opened_on IS NULL",
  ],
  'write',
);
console.log(rowsAffected === 1 ? `${shop.name} is open` : `${shop.name} was open already`);
