// A backend that does not want to go: it ignores SIGTERM. With STUBBORN_CHILD it has a child that does so too.

import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import http from 'node:http';

process.on('SIGTERM', () => {});
const script = "process.on('SIGTERM', () => {}); setInterval(() => {}, 1000)";
if (process.env.STUBBORN_CHILD) spawn(process.execPath, ['-e', script], { stdio: 'ignore' });

const { PORT } = process.env;
rmSync(PORT, { force: true });
http.createServer((req, res) => res.end(JSON.stringify({ pid: process.pid }))).listen({ path: PORT });
