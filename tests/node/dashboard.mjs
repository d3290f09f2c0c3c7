// A browser on the dashboard, for `tests/gateway/dashboard.rs`: `node dashboard.mjs shows|recovers|fits`. The gateway and
// the dashboard run already; the address with its key, and whatever else is needed, is in the environment.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import { chromium } from 'playwright-core';

const env = process.env;
const browser = await chromium.launch({
  executablePath: env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'],
});

/** The page, opened by its key, and what went wrong in it. */
async function open(options = {}) {
  const page = await (await browser.newContext(options)).newPage();
  const wrong = [];
  page.on('console', (message) => message.type() === 'error' && wrong.push(message.text()));
  page.on('pageerror', (error) => wrong.push(String(error)));
  page.on('dialog', (dialog) => wrong.push(`a dialog: ${dialog.message()}`));
  page.on('request', (request) => new URL(request.url()).host === new URL(env.URL).host || wrong.push(request.url()));
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => console.error(`CSP: ${event.violatedDirective}`));
  });
  await page.goto(env.URL);
  await page.waitForSelector('main:not([hidden])');
  return { page, wrong };
}

/** Waits until the element says that. */
function says(page, selector, text) {
  const told = ([selector, text]) => document.querySelector(selector)?.textContent.includes(text);
  return page.waitForFunction(told, [selector, text], { timeout: 30_000 });
}

/** A worker is made to write that, by way of the edge. */
function write(stream, line) {
  const path = `/say?${new URLSearchParams({ [stream]: line })}`;
  return new Promise((done, failed) => {
    const request = http.get(`${env.EDGE}${path}`, { headers: { host: 'api.example' } }, (answer) => answer.resume().on('end', done));
    request.on('error', failed);
  });
}

const pidShown = async (page) => Number(await page.textContent('#backends tbody tr td.number'));

async function shows() {
  const { page, wrong } = await open();
  // The key is not in the address any more, and opened one browser.
  assert.equal(new URL(page.url()).search, '');
  await says(page, '#headline', 'Everything serves');
  const title = await page.title();
  assert.ok(title.startsWith('✓'), title);
  const before = await pidShown(page);
  assert.equal(before, Number(env.PID));
  assert.equal(await page.getAttribute('#head', 'data-weight'), 'well');

  // What workers write is text, whatever it looks like.
  const hostile = '<img src=x onerror="alert(1)"><script>alert(2)</script>';
  await write('stderr', hostile);
  await write('stdout', JSON.stringify({ level: 40, msg: 'late', tenant: '<b>navaja</b>' }));
  await says(page, '#logs', hostile);
  await says(page, '#logs .warn', 'late  tenant=<b>navaja</b>');
  assert.equal(await page.locator('#logs img, #logs script, #logs b').count(), 0);
  assert.ok(await page.locator('#logs li', { hasText: 'chatty is there' }).count());
  await page.selectOption('#level', 'error');
  await page.waitForFunction(() => [...document.querySelectorAll('#logs li')].every((line) => line.className === 'error'));
  await says(page, '#logs', hostile);

  // Requests are counted.
  const asking = setInterval(() => write('stdout', 'a request').catch(() => {}), 100);
  await page.waitForFunction(() => /[1-9].* \/s/.test(document.querySelector('#tiles dd').textContent));
  await says(page, '#tiles', ' ms');
  clearInterval(asking);

  // Tenants are found by a part of their name; rows name themselves for who cannot see them.
  await page.waitForFunction(() => document.querySelectorAll('#tenants tr').length === 2);
  await page.fill('#find', 'BARB');
  await page.waitForFunction(() => document.querySelectorAll('#tenants tr').length === 1);
  assert.equal(await page.textContent('#tenants th[scope=row] span'), 'barba');
  const unnamed = await page.evaluate(() =>
    [...document.querySelectorAll('table')].filter((table) => !table.caption && !table.getAttribute('aria-labelledby')).length,
  );
  assert.equal(unnamed, 0);

  // A worker is killed: another process is shown, and how the first one ended.
  process.kill(before, 'SIGKILL');
  await page.waitForFunction((pid) => {
    const shown = Number(document.querySelector('#backends tbody tr td.number')?.textContent);
    return shown > 1 && shown !== pid;
  }, before);
  await says(page, '#headline', 'Everything serves');
  await says(page, '#backends .ends', 'SIGKILL');
  assert.equal(await page.getAttribute('#verdict', 'aria-live'), 'polite');
  assert.deepEqual(wrong, []);

  // A second browser with the same key stays outside.
  const stranger = await (await browser.newContext()).newPage();
  assert.equal((await stranger.goto(env.URL)).status(), 401);
  // And so does a page of another site that sends somebody here, or asks for what is here.
  const foreign = await page.context().newPage();
  await foreign.route('http://foreign.example/', (route) => route.fulfill({ contentType: 'text/html', body: '<title>x</title>' }));
  await foreign.goto('http://foreign.example/');
  const asked = await foreign.evaluate((url) => fetch(url, { credentials: 'include' }).then(() => 'read', (error) => error.name), new URL('/api/house', env.URL).href);
  assert.equal(asked, 'TypeError');
}

async function recovers() {
  const { page, wrong } = await open();
  await says(page, '#headline', 'Everything serves');
  fs.writeFileSync(`${env.SIGNS}/seen`, '');
  await says(page, '#headline', 'not running');
  assert.equal(await page.getAttribute('#head', 'data-weight'), 'ill');
  assert.ok((await page.textContent('#remedy')).includes('goes on by itself'));
  // What was seen last is still there to be read.
  assert.ok(await pidShown(page));
  fs.writeFileSync(`${env.SIGNS}/gone`, '');
  await says(page, '#headline', 'Everything serves');
  await says(page, '#backends', 'ready');
  // The answers that say so are what the browser tells of, and nothing else.
  assert.deepEqual(wrong.filter((text) => !text.includes('status of 503')), []);
}

/** On a telephone and in the dark: nothing is wider than the screen. */
async function fits() {
  const { page, wrong } = await open({ viewport: { width: 360, height: 700 }, colorScheme: 'dark' });
  await says(page, '#backends', 'ready');
  await write('stdout', 'w'.repeat(3000));
  await says(page, '#logs', 'www');
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(width <= 360, `${width} wide`);
  const [paper, ink] = await page.evaluate(() => {
    const { backgroundColor, color } = getComputedStyle(document.body);
    return [backgroundColor, color].map((text) => text.match(/\d+/g).slice(0, 3).reduce((all, part) => all + Number(part), 0));
  });
  assert.ok(paper < 150 && ink > 500, `${paper} ${ink}`);
  assert.deepEqual(wrong, []);
}

try {
  await { shows, recovers, fits }[process.argv[2]]();
} finally {
  await browser.close();
}
