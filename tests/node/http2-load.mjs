// Requests over HTTP/2 until the file named by the last argument is there: `http2-load.mjs URL HOST ORIGIN CA STOP`.
// No request is sent twice; the first that fails ends it. Prints how many were answered.

import { existsSync, readFileSync } from 'node:fs';
import http2 from 'node:http2';

const [url, host, origin, ca, stop] = process.argv.slice(2);
let answered = 0;
let sessions = 0;

function open() {
  sessions += 1;
  const session = http2.connect(url, { ca: readFileSync(ca), servername: host });
  // What is in flight says itself how it ended.
  session.on('error', () => {});
  return session;
}

function ask(session) {
  return new Promise((done, failed) => {
    const stream = session.request({ ':path': '/slow?ms=2', ':authority': host, origin });
    let status;
    stream.on('response', (headers) => (status = headers[':status']));
    stream.on('error', failed);
    stream.on('close', () => (status === 200 ? done() : failed(new Error(`status ${status}`))));
    stream.resume();
    stream.end();
  });
}

// Several at a time on one connection, a new connection when the server says goodbye.
let session;
async function keepAsking() {
  while (!existsSync(stop)) {
    if (!session || session.closed || session.destroyed) session = open();
    const on = session;
    try {
      await ask(on);
      answered += 1;
    } catch (error) {
      // The goodbye had come while the request was made, so the library did not send it (RFC 9113 8.7), as a browser
      // finds out, too: it is made anew on another connection.
      if (!on.closed || error.message !== 'Stream closed with error code NGHTTP2_REFUSED_STREAM') throw error;
    }
  }
}

await Promise.all(Array.from({ length: 4 }, keepAsking));
session.close();
console.log(JSON.stringify({ answered, sessions }));
