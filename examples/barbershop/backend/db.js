// The database of the request in hand. This file is all that the application knows about tenants.
//
// The gateway sets `x-gateway-database-url`: the address of its door with this tenant's ticket in it. The URL
// stays the same for the gateway's life, so it is the key of a small cache. A client holds no connection: the
// pools are the gateway's. So a client that falls out of the cache needs no closing, and what it still runs ends well.

import { createClient } from '@libsql/client/http';

const CLIENTS_MAX = 100;
const clients = new Map();

export function db(req) {
  const url = req.get('x-gateway-database-url');
  if (!url) throw Object.assign(new Error('No shop is known by this address.'), { status: 403, expose: true });
  const client = clients.get(url) ?? createClient({ url });
  clients.delete(url);
  clients.set(url, client); // a Map keeps its order: the first key is the longest unused
  if (clients.size > CLIENTS_MAX) clients.delete(clients.keys().next().value);
  return client;
}
