// Express in CommonJS, as most applications are.
const { createRequire } = require('node:module');
const express = createRequire(require.resolve('../../node/package.json'))('express');

const app = express();
app.use(express.json());
app.get('/healthz', (request, response) => response.send('ok'));
app.post('/orders', (request, response) => response.status(201).json({ order: request.body, framework: 'express' }));
app.use((request, response) => response.json({ url: request.originalUrl, framework: 'express' }));
const server = app.listen(process.env.PORT);
process.on('SIGTERM', () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
