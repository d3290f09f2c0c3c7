// Writes the cases of the corpora as seeds, one file each: `node seeds.mjs DATA INTO`. A case's bytes are written as
// `tests/gateway/hostile_case.rs` reads them.
import fs from 'node:fs';
import path from 'node:path';

const [data, into] = process.argv.slice(2);
// What makes a case long says nothing to a fuzzer.
const BYTES_MAX = 4096;

function bytes(text) {
  const parts = [];
  for (let at = 0; at < text.length; ) {
    if (text[at] !== '\\') {
      const end = text.indexOf('\\', at) < 0 ? text.length : text.indexOf('\\', at);
      parts.push(Buffer.from(text.slice(at, end)));
      at = end;
      continue;
    }
    const kind = text[at + 1];
    at += 2;
    if (kind === 'x') {
      parts.push(Buffer.from(text.slice(at, at + 2), 'hex'));
      at += 2;
    } else if (kind === '*') {
      const [whole, count, inner] = /^(\d+)\(([^)]*)\)/.exec(text.slice(at));
      const once = bytes(inner);
      const times = Math.min(Number(count), Math.floor(BYTES_MAX / once.length));
      parts.push(Buffer.concat(Array(times).fill(once)));
      at += whole.length;
    } else if (kind === '{') {
      const [whole, byte, count] = /^(\w\w)\*(\d+)\}/.exec(text.slice(at));
      parts.push(Buffer.alloc(Math.min(Number(count), BYTES_MAX), byte, 'hex'));
      at += whole.length;
    } else {
      parts.push(Buffer.from({ r: '\r', n: '\n', t: '\t', 0: '\0', '\\': '\\' }[kind]));
    }
  }
  return Buffer.concat(parts);
}

function cases(directory, target) {
  const from = path.join(data, 'hostile', directory);
  for (const name of fs.existsSync(from) ? fs.readdirSync(from) : []) {
    const [, section = ''] = fs.readFileSync(path.join(from, name), 'utf8').split(/^---.*\n/m);
    const seed = bytes(section.replaceAll('\n', '')).subarray(0, BYTES_MAX);
    fs.writeFileSync(path.join(into, target, name), seed);
  }
}

cases('http1', 'request');
cases('worker', 'answer');

// Name, bytes, outcome.
const headers = fs.readFileSync(path.join(data, 'proxy_protocol/headers.txt'), 'utf8').split('\n');
const rows = headers.filter((line) => !line.startsWith('#')).map((line) => line.split(' | ')[1] ?? '');
rows.forEach((row, number) => fs.writeFileSync(path.join(into, 'proxy_header', String(number)), bytes(row)));

// Everything that the tests of origins name.
const origins = fs.readFileSync(path.join(data, '../../src/tenant/origin.rs'), 'utf8').matchAll(/"(\w+:\/\/[^"]*)"/g);
[...origins].forEach(([, text], number) => fs.writeFileSync(path.join(into, 'origin', String(number)), text));
