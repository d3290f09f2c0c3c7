import { createClient } from '@libsql/client/http';
import { LibsqlDialect } from '@libsql/kysely-libsql';
import { Kysely } from 'kysely';

const CLIENTS_MAX = 100;
const clients = new Map();

export function db(req) {
  const url = req.headers['x-gateway-database-url'];
  const client = clients.get(url) ?? new Kysely({ dialect: new LibsqlDialect({ client: createClient({ url }) }) });
  clients.delete(url);
  clients.set(url, client); // a Map keeps its order: the first key is the longest unused
  if (clients.size > CLIENTS_MAX) clients.delete(clients.keys().next().value);
  return client;
}
