// Writes the cases of the corpora as seeds, one file each: `node seeds.mjs DATA INTO`.
import fs from 'node:fs';
import path from 'node:path';

import { bytes, parse } from '../data/hostile/notation.mjs';

const [data, into] = process.argv.slice(2);
// What makes a case long says nothing to a fuzzer.
const BYTES_MAX = 4096;

function cases(directory, target) {
  const from = path.join(data, 'hostile', directory);
  for (const name of fs.readdirSync(from)) {
    const seed = parse(fs.readFileSync(path.join(from, name), 'utf8'), BYTES_MAX).bytes;
    fs.writeFileSync(path.join(into, target, name), seed.subarray(0, BYTES_MAX));
  }
}

cases('http1', 'request');
cases('worker', 'answer');

// Name, bytes, outcome.
const headers = fs.readFileSync(path.join(data, 'proxy_protocol/headers.txt'), 'utf8').split('\n');
const rows = headers.filter((line) => !line.startsWith('#')).map((line) => line.split(' | ')[1] ?? '');
rows.forEach((row, number) =>
  fs.writeFileSync(path.join(into, 'proxy_header', String(number)), bytes(row, BYTES_MAX)),
);

// Everything that the tests of origins name.
const origins = fs.readFileSync(path.join(data, '../../src/tenant/origin.rs'), 'utf8').matchAll(/"(\w+:\/\/[^"]*)"/g);
[...origins].forEach(([, text], number) => fs.writeFileSync(path.join(into, 'origin', String(number)), text));
