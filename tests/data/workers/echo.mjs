// A backend in plain Node that shows what reached it and answers in every way HTTP allows. Everything that it does is
// asked for by path and query; everything it saw can be asked for at /seen.

import { createHash } from 'node:crypto';
import { existsSync, rmSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';

const { WebSocketServer } = createRequire(new URL('../../node/package.json', import.meta.url))('ws');

const seen = []; // request lines, in order: proves what never arrived
const events = []; // what happened to connections

const routes = {
  '/healthz': (req, res) => res.end('ok'),
  '/seen': (req, res) => json(res, { seen, events, pid: process.pid }),

  // What the worker's process looks like.
  '/process': (req, res) =>
    json(res, {
      pid: process.pid,
      cwd: process.cwd(),
      port: process.env.PORT,
      env: process.env,
    }),

  // /headers?set=name:value&set=…&status=201: any response header, also twice.
  '/headers': (req, res, query) => {
    const headers = query.getAll('set').flatMap((pair) => {
      const at = pair.indexOf(':');
      return [pair.slice(0, at), pair.slice(at + 1)];
    });
    res.writeHead(Number(query.get('status') ?? 200), headers);
    res.end(query.get('body') ?? 'headers');
  },

  // /slow?ms=500: the answer begins late.
  '/slow': (req, res, query) => {
    res.on('close', () => res.writableFinished || events.push('slow: client gone'));
    setTimeout(() => json(res, { pid: process.pid }), Number(query.get('ms')));
  },
  '/hang': (req, res) => res.on('close', () => events.push('hang: client gone')),

  // /sse?events=3&every=100: one event at a time, or pieces of another `type`.
  '/sse': (req, res, query) => {
    const count = Number(query.get('events') ?? 3);
    res.writeHead(200, { 'content-type': query.get('type') ?? 'text/event-stream' });
    res.flushHeaders();
    let sent = 0;
    const timer = setInterval(() => {
      res.write(`data: ${sent}\n\n`);
      if (++sent === count) {
        clearInterval(timer);
        res.end();
      }
    }, Number(query.get('every') ?? 50));
    res.on('close', () => {
      clearInterval(timer);
      if (!res.writableFinished) events.push('sse: client gone');
    });
  },

  // /chunked?chunks=3: a chunked body with trailers.
  '/chunked': (req, res, query) => {
    res.writeHead(200, { trailer: 'x-checksum', 'transfer-encoding': 'chunked' });
    for (let chunk = 0; chunk < Number(query.get('chunks') ?? 3); chunk += 1) res.write(`chunk ${chunk}\n`);
    res.addTrailers({ 'x-checksum': 'sum', 'x-gateway-tenant': 'forged' });
    res.end();
  },

  // /big?bytes=1000000: that many bytes whose hash the test can compute: 0, 1, … 250, 0, 1, …
  '/big': async (req, res, query) => {
    let left = Number(query.get('bytes'));
    res.writeHead(200, { 'content-type': 'application/octet-stream' });
    const block = Buffer.from(Array.from({ length: 251 * 256 }, (_, index) => index % 251));
    while (left > 0 && !res.destroyed) {
      const piece = block.subarray(0, Math.min(left, block.length));
      left -= piece.length;
      progress.sent += piece.length;
      if (!res.write(piece)) await drained(res);
    }
    res.end();
  },
  '/progress': (req, res) => json(res, progress),

  // Reads the whole body and says what it was.
  '/sink': async (req, res) => {
    const hash = createHash('sha256');
    let bytes = 0;
    for await (const piece of req) {
      bytes += piece.length;
      hash.update(piece);
    }
    json(res, { bytes, sha256: hash.digest('hex'), trailers: req.trailers });
  },
  // Answers before it reads.
  '/early': (req, res) => json(res, { early: true }),
  // Takes the head, then reads nothing for a while: back-pressure must reach the client.
  '/stall': (req, res, query) => {
    req.pause();
    setTimeout(() => {
      req.on('data', (piece) => (progress.received += piece.length));
      req.on('end', () => json(res, progress));
      req.resume();
    }, Number(query.get('ms') ?? 1000));
  },

  '/crash': () => process.kill(process.pid, 'SIGKILL'),
  // The head and some of the body, then death.
  '/crash-midway': (req, res) => {
    res.writeHead(200, { 'content-length': '1000' });
    res.write('begun', () => setTimeout(() => process.kill(process.pid, 'SIGKILL'), 50));
  },
  '/print': (req, res, query) => {
    console.log(query.get('line'));
    console.error(query.get('error') ?? 'nothing wrong');
    res.end('printed');
  },
};

const progress = { sent: 0, received: 0 };

// Resolves when there is room again or nobody listens any more.
function drained(res) {
  return new Promise((go) => {
    const done = () => {
      res.off('drain', done).off('close', done);
      go();
    };
    res.on('drain', done).on('close', done);
  });
}

// Everything else: the request itself.
async function echo(req, res) {
  let body = '';
  for await (const piece of req) body += piece.toString('latin1');
  json(res, {
    pid: process.pid,
    method: req.method,
    url: req.url,
    version: req.httpVersion,
    headers: req.headers,
    raw: req.rawHeaders,
    trailers: req.trailers,
    body,
  });
}

function json(res, value) {
  res.setHeader('content-type', 'application/json');
  res.end(JSON.stringify(value));
}

async function handle(req, res) {
  const { pathname, searchParams } = new URL(req.url, 'http://worker');
  if (pathname !== '/healthz' && pathname !== '/seen') seen.push(`${req.method} ${req.url}`);
  try {
    await (routes[pathname] ?? echo)(req, res, searchParams);
  } catch (error) {
    events.push(`${pathname}: ${error.code ?? error.message}`);
    res.destroy();
  }
}

const server = http.createServer(handle);

// `Expect: 100-continue`: /refuse-body says no before the body is sent.
server.on('checkContinue', (req, res) => {
  if (req.url.startsWith('/refuse-body')) {
    res.writeHead(417, { connection: 'close' });
    return res.end('no, thank you');
  }
  events.push('continue');
  res.writeContinue();
  return handle(req, res);
});

const sockets = new WebSocketServer({ noServer: true, maxPayload: 32 * 1024 * 1024 });
server.on('upgrade', (req, socket, head) => {
  seen.push(`UPGRADE ${req.url}`);
  if (req.url.startsWith('/refuse-upgrade')) {
    return socket.end('HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno');
  }
  return sockets.handleUpgrade(req, socket, head, (peer) => {
    peer.on('error', (error) => events.push(`websocket: ${error.message}`));
    peer.on('close', (code) => events.push(`websocket: closed ${code}`));
    peer.on('message', (data, isBinary) => {
      const text = isBinary ? '' : data.toString();
      if (text === 'headers') return peer.send(JSON.stringify(req.headers));
      if (text === 'close') return peer.close(4001, 'as asked');
      if (text === 'crash') return process.kill(process.pid, 'SIGKILL');
      return peer.send(data, { binary: isBinary });
    });
  });
});

// ECHO_READY_AFTER_MS: listens late. ECHO_READY_WITH: not before this file is there. ECHO_NEVER: never listens.
// ECHO_FAIL: ends at once with a last word. ECHO_ANNOUNCE: prints its port.
const { PORT, ECHO_READY_AFTER_MS, ECHO_READY_WITH, ECHO_NEVER, ECHO_FAIL, ECHO_ANNOUNCE } = process.env;
if (ECHO_ANNOUNCE) server.on('listening', () => console.log(server.address().port));
if (ECHO_FAIL) {
  console.error(ECHO_FAIL);
  process.exit(7);
}
if (ECHO_NEVER) {
  setInterval(() => {}, 1000);
} else {
  const listen = () => {
    if (ECHO_READY_WITH && !existsSync(ECHO_READY_WITH)) return setTimeout(listen, 20);
    const port = /^\d+$/.test(PORT);
    if (!port) rmSync(PORT, { force: true });
    return server.listen(port ? { port: Number(PORT), host: '127.0.0.1' } : { path: PORT });
  };
  setTimeout(listen, Number(ECHO_READY_AFTER_MS ?? 0));
}

process.on('SIGTERM', () => {
  for (const peer of sockets.clients) peer.close(1001, 'worker stops');
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
