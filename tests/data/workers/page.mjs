// Every path is one page, long enough to be compressed.
import http from 'node:http';

const page = `<!doctype html><title>Barber</title>${'<p>Come in, we are open.</p>'.repeat(400)}`;
http.createServer((req, res) => {
  res.setHeader('content-type', 'text/html; charset=utf-8');
  res.end(req.method === 'HEAD' ? '' : page);
}).listen(process.env.PORT);
