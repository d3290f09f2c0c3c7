// Writes down in which order requests came and how many it had at that moment. Ready when the file
// COUNTING_GATE is there; an answer takes 40 ms.

import { existsSync } from 'node:fs';
import http from 'node:http';

const arrivals = []; // { id, tenant, inFlight, answered }
let inFlight = 0;
let answered = 0;

const server = http.createServer((req, res) => {
  if (req.url === '/healthz') return res.end('ok');
  if (req.url === '/arrivals') return res.end(JSON.stringify(arrivals));
  inFlight += 1;
  arrivals.push({ id: Number(req.url.slice(1)), tenant: req.headers['x-gateway-tenant'], inFlight, answered });
  setTimeout(() => {
    inFlight -= 1;
    answered += 1;
    res.end('counted');
  }, 40);
});

const gate = setInterval(() => {
  if (!existsSync(process.env.COUNTING_GATE)) return;
  clearInterval(gate);
  server.listen(process.env.PORT);
}, 20);
process.on('SIGTERM', () => process.exit(0));
