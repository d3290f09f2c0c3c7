// Keeps the bytes of every request as they came over the socket, and answers each whole one. `GET /fence` tells what
// has come since the last fence: whole requests, and beginnings of others.
import net from 'node:net';

let [whole, begun] = [[], []];
const open = new Set();

// Where the first request in `bytes` ends, or -1.
function end(bytes) {
  const head = bytes.indexOf('\r\n\r\n');
  if (head < 0) return -1;
  const text = bytes.subarray(0, head + 2).toString('latin1');
  const length = /\r\ncontent-length: (\d+)\r\n/i.exec(text);
  if (length) return bytes.length < head + 4 + Number(length[1]) ? -1 : head + 4 + Number(length[1]);
  if (!/\r\ntransfer-encoding:/i.test(text)) return head + 4;
  for (let at = head + 4; ; ) {
    const line = bytes.indexOf('\r\n', at);
    if (line < 0) return -1;
    const size = parseInt(bytes.subarray(at, line).toString('latin1'), 16);
    at = line + 2 + size + 2;
    if (size > 0) continue;
    for (let begin = line + 2; ; ) {
      const next = bytes.indexOf('\r\n', begin);
      if (next < 0) return -1;
      if (next === begin) return next + 2;
      begin = next + 2;
    }
  }
}

net
  .createServer((socket) => {
    const connection = { bytes: Buffer.alloc(0), told: false };
    open.add(connection);
    socket.on('error', () => {});
    socket.on('close', () => {
      if (connection.bytes.length > 0 && !connection.told) begun.push(connection.bytes);
      open.delete(connection);
    });
    socket.on('data', (bytes) => {
      connection.bytes = Buffer.concat([connection.bytes, bytes]);
      for (let at; (at = end(connection.bytes)) > 0; ) {
        const request = connection.bytes.subarray(0, at);
        connection.bytes = connection.bytes.subarray(at);
        connection.told = false;
        const target = request.toString('latin1').split(' ')[1];
        let answer = 'ok';
        if (target === '/fence') {
          for (const other of open) {
            if (other.bytes.length > 0 && !other.told) begun.push(other.bytes);
            other.told = other.bytes.length > 0;
          }
          const latin1 = (list) => list.map((each) => each.toString('latin1'));
          answer = JSON.stringify({ whole: latin1(whole), begun: latin1(begun) });
          [whole, begun] = [[], []];
        } else if (target !== '/healthz') {
          whole.push(request);
        }
        socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${Buffer.byteLength(answer)}\r\n\r\n${answer}`);
      }
    });
  })
  .listen(process.env.PORT);
process.on('SIGTERM', () => process.exit(0));
