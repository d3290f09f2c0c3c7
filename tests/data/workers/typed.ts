// TypeScript as it is written, run through a loader.
import http, { type IncomingMessage, type ServerResponse } from 'node:http';

interface Order {
  readonly item: string;
}

async function body(request: IncomingMessage): Promise<Order> {
  let text = '';
  for await (const chunk of request) text += chunk;
  return JSON.parse(text) as Order;
}

const server = http.createServer(async (request: IncomingMessage, response: ServerResponse) => {
  if (request.url === '/orders') {
    response.statusCode = 201;
    response.end(JSON.stringify({ order: await body(request), framework: 'typed' }));
  } else {
    response.end(JSON.stringify({ url: request.url, framework: 'typed' }));
  }
});
server.listen(process.env.PORT);
process.on('SIGTERM', () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
