// Listens at once. `/health` answers 200 and `/` what it was started with; `/slow?ms=N` answers late.
import http from 'node:http';

const server = http.createServer((request, response) => {
  const url = new URL(request.url, 'http://worker');
  if (url.pathname === '/health') return response.end('well');
  if (url.pathname === '/slow') return setTimeout(() => response.end('slow'), Number(url.searchParams.get('ms')));
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ pid: process.pid, directory: process.cwd(), env: process.env, argv: process.argv.slice(2) }));
});
server.listen(process.env.PORT, () => console.log(`listening, ${process.env.LABEL ?? 'unlabelled'}`));
process.on('SIGTERM', () => {
  console.log('bye');
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
