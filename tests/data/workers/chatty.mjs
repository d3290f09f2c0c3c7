// Writes what it is told to: /say?stdout=…&stderr=… a line each, /flood?lines=N that many lines at once, synchronously.
// If anybody made it wait, the answer would not come. No `console.log`: with it Node makes the pipe one that refuses what
// does not fit.
import fs from 'node:fs';
import http from 'node:http';

const server = http.createServer((request, response) => {
  const { pathname, searchParams } = new URL(request.url, 'http://worker');
  if (pathname === '/say') {
    if (searchParams.has('stdout')) fs.writeSync(1, `${searchParams.get('stdout')}\n`);
    if (searchParams.has('stderr')) fs.writeSync(2, `${searchParams.get('stderr')}\n`);
  }
  if (pathname === '/flood') {
    const filling = 'x'.repeat(Number(searchParams.get('filling') ?? 100));
    for (let number = 0; number < Number(searchParams.get('lines')); number += 1) {
      fs.writeSync(1, `flood ${number} ${filling}\n`);
    }
  }
  response.end(String(process.pid));
});
server.listen(process.env.PORT, () => fs.writeSync(1, 'chatty is there\n'));
process.on('SIGTERM', () => {
  fs.writeSync(1, 'chatty says bye\n');
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
