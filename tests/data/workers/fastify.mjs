// Fastify, which listens on a path as on a port, and closes by itself.
import { createRequire } from 'node:module';

const fastify = createRequire(new URL('../../node/package.json', import.meta.url))('fastify');
const app = fastify();
app.get('/healthz', async () => 'ok');
app.post('/orders', async (request, reply) => reply.code(201).send({ order: request.body, framework: 'fastify' }));
app.get('/*', async (request) => ({ url: request.url, framework: 'fastify' }));
const { PORT } = process.env;
await app.listen(/^\d+$/.test(PORT) ? { port: Number(PORT) } : { path: PORT });
process.on('SIGTERM', () => app.close().then(() => process.exit(0)));
