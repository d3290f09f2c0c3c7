// Writes without end, synchronously: if anybody makes it wait, it never answers.
import fs from 'node:fs';
import http from 'node:http';

let written = 0;
const line = 'x'.repeat(200) + '\n';
const flood = () => {
  for (let i = 0; i < 500; i += 1) fs.writeSync(1, line);
  written += 500;
  setImmediate(flood);
};
http.createServer((request, response) => response.end(String(written))).listen(process.env.PORT, flood);
