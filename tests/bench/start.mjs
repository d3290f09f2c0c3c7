#!/usr/bin/env node
// Cold start: from the start of the process to the first answer of an application that runs already, 20 times. The very
// first one, which makes the registry and its key, is told by itself.
// tests/bench/start.mjs target/x86_64-unknown-linux-musl/release/gateway

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const ROUNDS = 20;
const program = process.argv[2];
if (!program) {
  console.error('usage: tests/bench/start.mjs GATEWAY');
  process.exit(2);
}

const app = http.createServer((req, res) => res.end('hello')).listen(0, '127.0.0.1');
await new Promise((resolve) => app.once('listening', resolve));
const probe = net.createServer().listen(0, '127.0.0.1');
await new Promise((resolve) => probe.once('listening', resolve));
const { port } = probe.address();
await new Promise((resolve) => probe.close(resolve));

const ask = () =>
  new Promise((resolve) => {
    const request = http.get({ port, host: '127.0.0.1', agent: false, headers: { host: 'api.example' } }, (answer) => {
      answer.resume();
      answer.on('end', () => resolve(answer.statusCode === 200));
    });
    request.on('error', () => resolve(false));
  });

const place = mkdtempSync(join(tmpdir(), 'gws'));
writeFileSync(
  join(place, 'gateway.toml'),
  `state_dir = "${place}/state"\nruntime_dir = "${place}/run"
[edge]\nhttp = ["127.0.0.1:${port}"]\nhttps = []\nhttp_mode = "serve"
[backend.api]\nhosts = ["api.example"]\nupstream = "http://127.0.0.1:${app.address().port}"\n`,
);
const took = [];
for (let round = 0; round <= ROUNDS; round += 1) {
  const begun = process.hrtime.bigint();
  const gateway = spawn(program, ['run', '--config', join(place, 'gateway.toml')], { stdio: 'ignore' });
  while (!(await ask())) await new Promise((resolve) => setTimeout(resolve, 1));
  took.push(Number(process.hrtime.bigint() - begun) / 1e6);
  gateway.kill();
  await new Promise((resolve) => gateway.once('exit', resolve));
}
rmSync(place, { recursive: true });
console.log(`very first start: ${took.shift().toFixed(0)} ms`);
took.sort((one, other) => one - other);
console.log(`first answer after ${took[ROUNDS / 2].toFixed(0)} ms (median), ${took[ROUNDS - 1].toFixed(0)} ms (worst) of ${ROUNDS}`);
app.close();
