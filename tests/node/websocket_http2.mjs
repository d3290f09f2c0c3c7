// WebSockets over HTTP/2 (RFC 8441), with Node's own HTTP/2 client and the `ws` library over its streams: for
// `tests/gateway/websocket_http2.rs`. `node websocket_http2.mjs MODE`.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http2 from 'node:http2';
import { setTimeout as later } from 'node:timers/promises';
import WebSocket from 'ws';

const { API, ORIGIN, STRANGER, SUSPENDED, HOST = 'api.example' } = process.env;

const session = http2.connect(API, { servername: HOST, rejectUnauthorized: false, settings: { enablePush: false } });
const [settings] = await once(session, 'remoteSettings');
assert.equal(settings.enableConnectProtocol, true, 'the server does not announce RFC 8441');

/** A request as a browser makes it. */
function request(path, headers = {}) {
  return session.request(
    {
      ':method': 'CONNECT',
      ':protocol': 'websocket',
      ':scheme': 'https',
      ':path': path,
      ':authority': HOST,
      'sec-websocket-version': '13',
      origin: ORIGIN,
      ...headers,
    },
    { endStream: false },
  );
}

async function answered(stream) {
  const [headers] = await once(stream, 'response');
  return headers;
}

/** What a refused request's page reads. */
async function refused(path, headers) {
  const stream = request(path, headers);
  const answer = await answered(stream);
  let text = '';
  for await (const piece of stream) text += piece;
  return { status: answer[':status'], headers: answer, text };
}

/** The library over a stream that has switched. */
async function library(path, headers) {
  const stream = request(path, { 'sec-websocket-extensions': 'permessage-deflate', ...headers });
  const answer = await answered(stream);
  assert.equal(answer[':status'], 200);
  for (const name of ['connection', 'upgrade', 'sec-websocket-accept', 'transfer-encoding', 'content-length'])
    assert.equal(answer[name], undefined, name);
  const socket = new WebSocket(null, undefined, {});
  socket._isServer = false;
  const messages = [];
  socket.on('message', (data, binary) => messages.push(binary ? data : data.toString()));
  socket.setSocket(stream, Buffer.alloc(0), { maxPayload: 64 * 1024 * 1024, skipUTF8Validation: false });
  return {
    answer,
    socket,
    async next() {
      while (messages.length === 0) await once(socket, 'message');
      return messages.shift();
    },
    async closed() {
      const [code, reason] = await once(socket, 'close');
      return [code, reason.toString()];
    },
  };
}

const modes = {
  // Another application beside the API: it judges origins by itself, and gets no tenant and no ticket.
  async site() {
    const one = await library('/ws', { origin: STRANGER });
    assert.equal(one.answer['access-control-allow-origin'], undefined);
    const large = Buffer.alloc(3_000_000, 'x');
    for (const message of ['hello', large]) {
      one.socket.send(message);
      assert.deepEqual(await one.next(), message);
    }
    one.socket.send('headers');
    const headers = JSON.parse(await one.next());
    assert.deepEqual([headers.host, headers.origin, headers.upgrade], [HOST, STRANGER, 'websocket']);
    for (const name of Object.keys(headers)) assert.ok(!name.startsWith('x-gateway-'), name);
    one.socket.send('close');
    assert.deepEqual(await one.closed(), [4001, 'as asked']);
  },

  // Messages, closes from either side, many at once beside ordinary requests.
  async library() {
    const one = await library('/ws');
    assert.equal(one.answer['access-control-allow-origin'], ORIGIN);
    const large = Buffer.alloc(3_000_000, 'x');
    for (const message of ['hello', Buffer.from([0, 255, 1]), large]) {
      one.socket.send(message);
      assert.deepEqual(await one.next(), message);
    }
    one.socket.send('headers');
    const headers = JSON.parse(await one.next());
    assert.equal(headers['x-gateway-tenant'], 'navaja');
    assert.ok(headers['x-gateway-database-url']);
    assert.equal(headers['x-forwarded-proto'], 'https');
    assert.equal(headers.upgrade, 'websocket');
    assert.equal(Buffer.from(headers['sec-websocket-key'], 'base64').length, 16);
    one.socket.send('close');
    assert.deepEqual(await one.closed(), [4001, 'as asked']);

    const two = await library('/ws');
    two.socket.close(4002, 'mine');
    assert.equal((await two.closed())[0], 4002);

    const many = await Promise.all(Array.from({ length: 40 }, () => library('/ws')));
    const get = session.request({ ':path': '/x', ':authority': 'api.example', origin: ORIGIN });
    const ordinary = answered(get);
    get.resume();
    many.forEach(({ socket }, index) => socket.send(`number ${index}`));
    assert.equal((await ordinary)[':status'], 200);
    for (const [index, each] of many.entries()) assert.equal(await each.next(), `number ${index}`);
    const closed = many.map((each) => each.closed());
    many.forEach(({ socket }) => socket.close());
    await Promise.all(closed);

    // A tab that is closed resets its stream.
    const gone = await library('/ws-gone');
    gone.socket._socket.close(http2.constants.NGHTTP2_CANCEL);
  },

  // Half-closes, with a worker that knows only TCP.
  async raw() {
    const client = request('/client-half');
    assert.equal((await answered(client))[':status'], 200);
    client.end(Buffer.from([0x81, 0x80, 0, 0, 0, 0]));
    let heard = '';
    for await (const piece of client) heard += piece.toString('latin1');
    assert.deepEqual(heard.match(/still here \d/g), ['still here 1', 'still here 2', 'still here 3']);

    const worker = request('/worker-half');
    assert.equal((await answered(worker))[':status'], 200);
    heard = '';
    for await (const piece of worker) heard += piece.toString('latin1');
    assert.ok(heard.endsWith('my last word'), heard);
    for (let turn = 0; turn < 3; turn += 1) {
      worker.write(Buffer.concat([Buffer.from([0x81, 0x8a, 0, 0, 0, 0]), Buffer.from('still here')]));
      await later(20);
    }
    worker.end();
    await once(worker, 'close');

    // A stream that nobody reads stops at its windows; the connection's other streams go on.
    const flood = request('/flood');
    assert.equal((await answered(flood))[':status'], 200);
    let last = -1;
    for (;;) {
      const { text } = await get('/seen');
      const { sent } = JSON.parse(text).progress;
      assert.ok(sent < 32 * 1024 * 1024, `${sent} bytes went nowhere`);
      if (sent > 0 && sent === last) break;
      last = sent;
      await later(100);
    }
    let bytes = 0;
    for await (const piece of flood) bytes += piece.length;
    assert.equal(bytes, 4096 * (16_380 + 4));
  },

  // What is no WebSocket, or none for this page.
  async 'refusals-of-the-gateway'() {
    const stranger = await refused('/ws', { origin: STRANGER });
    assert.equal(stranger.status, 403);
    assert.equal(stranger.headers['access-control-allow-origin'], undefined);
    const suspended = await refused('/ws', { origin: SUSPENDED });
    assert.equal(suspended.status, 403);
    assert.equal(suspended.headers['access-control-allow-origin'], SUSPENDED);
    assert.equal(JSON.parse(suspended.text).code, 'tenant-suspended');
    assert.equal((await refused('/ws', { ':authority': 'other.example' })).status, 421);
    assert.equal((await refused('/ws', { ':protocol': 'connect-udp' })).status, 400);
    // The worker's own words pass.
    const own = await refused('/refuse-upgrade');
    assert.deepEqual([own.status, own.text], [400, 'no']);
  },

  // But no 2xx that the client would take for a switch.
  async 'refusals-of-the-worker'() {
    for (const path of ['/ignores', '/lies']) assert.equal((await refused(path)).status, 502, path);
  },

  // Waits for the gateway's goodbye.
  async goodbye() {
    const one = await library('/ws');
    one.socket.send('hello');
    assert.equal(await one.next(), 'hello');
    const closed = one.closed();
    // The test acts when it reads this.
    console.log('open');
    const [code, reason] = await closed;
    console.log(`${code} ${reason}`);
  },
};

async function get(path) {
  const stream = session.request({ ':path': path, ':authority': 'api.example', origin: ORIGIN });
  const answer = await answered(stream);
  let text = '';
  for await (const piece of stream) text += piece;
  return { status: answer[':status'], text };
}

const timer = setTimeout(() => {
  console.error('nothing happens any more');
  process.exit(1);
}, 60_000);
await modes[process.argv[2]]();
clearTimeout(timer);
session.close();
