// Reads compressed answers for `tests/gateway/compression.rs` with Node's own client and zlib, which say whether a stream
// is whole. Gateway and worker are there already; a failed check ends with a stack.

import assert from 'node:assert/strict';
import http from 'node:http';
import zlib from 'node:zlib';

const { API, ORIGIN, HOST_NAME } = process.env;
const undo = {
  gzip: zlib.gunzipSync,
  br: zlib.brotliDecompressSync,
  ...(zlib.zstdDecompressSync && { zstd: zlib.zstdDecompressSync }),
};

/** One request with headers of our own choice (fetch sets Host and Origin itself). */
function get(path, headers) {
  return new Promise((done, failed) => {
    const request = http.get(`${API}${path}`, { headers: { host: HOST_NAME, origin: ORIGIN, ...headers } }, async (answer) => {
      const pieces = [];
      for await (const piece of answer) pieces.push(piece);
      done({ status: answer.statusCode, headers: answer.headers, body: Buffer.concat(pieces) });
    });
    request.on('error', failed);
  });
}

const text = 'línea y línea, '.repeat(300);
const path = `/headers?set=content-type:text/plain&body=${encodeURIComponent(text)}`;
for (const [coding, plain] of Object.entries(undo)) {
  const { status, headers, body } = await get(path, { 'accept-encoding': coding });
  assert.equal(status, 200);
  assert.equal(headers['content-encoding'], coding);
  assert.equal(plain(body).toString(), text);
}
