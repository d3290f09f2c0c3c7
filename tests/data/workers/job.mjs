// A job: what it does is its first word. Written as an application's would be, with the official client for notes.

import { spawn } from 'node:child_process';
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';

const [what, ...words] = process.argv.slice(2);
const { GATEWAY_TENANT: tenant, DATABASE_URL: url } = process.env;

const until = async (holds) => {
  while (!holds()) await sleep(10);
};

const work = {
  // note TEXT [FAILS_FOR]: a row in the tenant's database.
  async note(text, failsFor) {
    if (tenant === failsFor) {
      console.error(`no razor for ${tenant}`);
      process.exit(3);
    }
    const require = createRequire(new URL('../../node/package.json', import.meta.url));
    const { createClient } = require('@libsql/client');
    await createClient({ url }).execute({ sql: 'INSERT INTO notes (text) VALUES (?)', args: [`${text} of ${tenant}`] });
    console.log(`wrote ${text}`);
  },
  // hold FILE: says that it is there, and waits for the file FILE.go.
  async hold(file) {
    process.on('SIGTERM', () => {
      console.log('told to end');
      process.exit(0);
    });
    appendFileSync(`${file}.pids`, `${process.pid}\n`);
    await until(() => existsSync(`${file}.go`));
    console.log('let go');
  },
  // meet DIRECTORY COUNT: waits until so many of its kind are there at once.
  async meet(directory, count) {
    writeFileSync(`${directory}/here-${tenant}`, '');
    const others = ['navaja', 'barba'].slice(0, Number(count));
    await until(() => others.every((other) => existsSync(`${directory}/here-${other}`)));
  },
  // stubborn FILE: it and its child hear no SIGTERM.
  async stubborn(file) {
    process.on('SIGTERM', () => console.log('not I'));
    const deaf = `process.on('SIGTERM', () => {}); setInterval(() => {}, 1000); console.log('deaf')`;
    const child = spawn(process.execPath, ['-e', deaf], { stdio: ['ignore', 'pipe', 'inherit'] });
    child.stdout.once('data', () => writeFileSync(file, `${process.pid} ${child.pid}`));
    setInterval(() => {}, 1000);
    await new Promise(() => {});
  },
  // polite FILE: takes half a second to say goodbye; what it has put into a session of its own hears no SIGTERM.
  async polite(file) {
    process.on('SIGTERM', () => {
      setTimeout(() => {
        console.log('goodbye');
        process.exit(0);
      }, 500);
    });
    const deaf = `process.on('SIGTERM', () => {}); setInterval(() => {}, 1000); console.log('deaf')`;
    const child = spawn(process.execPath, ['-e', deaf], { detached: true, stdio: ['ignore', 'pipe', 'ignore'] });
    child.stdout.once('data', () => appendFileSync(`${file}.pids`, `${process.pid}\n${child.pid}\n`));
    await new Promise(() => {});
  },
  // look FILE: its environment, and whether it can read a file.
  async look(file) {
    let read = 'read';
    try {
      readFileSync(file);
    } catch (error) {
      read = error.code;
    }
    console.log(JSON.stringify({ env: process.env, directory: process.cwd(), read }));
  },
  // ends CODE.
  async ends(code) {
    console.log(`ends with ${code}`);
    process.exit(Number(code));
  },
};

await work[what](...words);
