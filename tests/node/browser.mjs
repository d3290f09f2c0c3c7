// Drives Debian's chromium for `tests/gateway/browser.rs`: `node browser.mjs shops|policy|site`. It starts nothing else:
// pages and gateway are there already, their addresses are in the environment. A failed check ends with a stack.

import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';

const env = process.env;
const browser = await chromium.launch({
  executablePath: env.CHROMIUM ?? '/usr/bin/chromium',
  args: [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ],
});

/** Books the first free slot of the page's shop, by hand as a customer would, and says what the book shows then. */
async function book(origin, name) {
  const page = await (await browser.newContext()).newPage();
  await page.goto(origin);
  await page.waitForSelector('#slots .slot, #slots .empty', { timeout: 20_000 });
  for (const day of await page.$$('.day[data-date]:not(.shut)')) {
    await day.click();
    await page.waitForSelector('#slots[aria-busy="false"]');
    if (await page.$('#slots .slot:not([disabled])')) break;
  }
  await page.click('#slots .slot:not([disabled])');
  await page.fill('#name', name);
  await page.click('#confirm');
  await page.waitForSelector('#done:not([hidden])');
  await page.click('#done [data-close]');
  await page.waitForFunction((text) => document.querySelector('#bookings').textContent.includes(text), name);
  return page;
}

async function shops() {
  const navaja = await book(env.NAVAJA, 'Ana of Navaja');
  const barba = await book(env.BARBA, 'Bento of Barba');
  for (const [page, own, other] of [
    [navaja, 'Ana of Navaja', 'Bento of Barba'],
    [barba, 'Bento of Barba', 'Ana of Navaja'],
  ]) {
    await page.reload();
    await page.waitForFunction((text) => document.querySelector('#bookings').textContent.includes(text), own);
    assert.ok(!(await page.textContent('body')).includes(other), `${own} sees ${other}`);
    const raw = await page.evaluate((api) => fetch(`${api}/api/bookings`).then((res) => res.text()), env.API);
    assert.ok(raw.includes(own) && !raw.includes(other), raw);
  }
  // A third shop that nobody listed: the page says so, a script reads nothing.
  const stranger = await (await browser.newContext()).newPage();
  await stranger.goto(env.TIJERA);
  await stranger.waitForSelector('#notice[data-code="origin-not-listed"]', { timeout: 20_000 });
  assert.equal((await attempt(stranger, `${env.API}/api/bookings`)).error, 'TypeError');
}

/** A fetch from the page: what a script sees of it. */
function attempt(page, url, options = {}) {
  return page.evaluate(
    async ([url, options]) => {
      try {
        const res = await fetch(url, options);
        const headers = Object.fromEntries(res.headers);
        const text = await res.text();
        return { status: res.status, type: res.type, headers, text };
      } catch (error) {
        return { error: error.name };
      }
    },
    [url, options],
  );
}

/** A WebSocket from the page: what it gets back for `hello`, or how it failed. */
function webSocket(page, url) {
  return page.evaluate(
    (url) =>
      new Promise((done) => {
        const socket = new WebSocket(url);
        socket.onopen = () => socket.send('hello');
        socket.onmessage = (event) => done(event.data);
        socket.onerror = () => done('refused');
        setTimeout(() => done('nothing'), 10_000);
      }),
    url,
  );
}

async function policy() {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  const open = async (origin) => {
    const page = await context.newPage();
    await page.goto(origin);
    return page;
  };
  const plain = await open(env.PLAIN);
  const trusted = await open(env.CREDENTIALS);
  const suspended = await open(env.SUSPENDED);
  const stranger = await open(env.STRANGER);

  // Simple requests, preflighted ones, and what the policy lacks.
  const get = await attempt(plain, `${env.API}/headers?set=x-total:3&set=x-hidden:1`);
  assert.equal(get.status, 200);
  assert.equal(get.headers['x-total'], '3');
  assert.ok(get.headers['x-request-id'] && !get.headers['x-hidden'], JSON.stringify(get.headers));
  const json = { 'content-type': 'application/json', 'x-shop': '1' };
  const put = await attempt(plain, `${env.API}/put`, { method: 'PUT', headers: json, body: '{}' });
  assert.equal(put.status, 200);
  assert.equal(JSON.parse(put.text).headers['x-gateway-tenant'], 'plain');
  assert.equal((await attempt(plain, `${env.API}/not-allowed`, { method: 'DELETE' })).error, 'TypeError');
  assert.equal((await attempt(plain, `${env.API}/not-allowed`, { headers: { 'x-else': '1' } })).error, 'TypeError');

  // HTTPS, and so HTTP/2.
  assert.equal((await attempt(plain, `${env.API_HTTPS}/x`)).status, 200);

  // Credentials: only where the policy says so, and cookies then come back.
  assert.equal((await attempt(plain, `${env.API}/x`, { credentials: 'include' })).error, 'TypeError');
  const set = `${env.API}/headers?set=set-cookie:session=1`;
  assert.equal((await attempt(trusted, set, { credentials: 'include' })).status, 200);
  const cookie = JSON.parse((await attempt(trusted, `${env.API}/x`, { credentials: 'include' })).text).headers.cookie;
  assert.ok(cookie?.includes('session=1'), `cookie: ${cookie}`);

  // A suspended tenant's page reads why, after a preflight too.
  for (const options of [{}, { method: 'PUT', headers: { 'content-type': 'application/json' }, body: '{}' }]) {
    const answer = await attempt(suspended, `${env.API}/x`, options);
    assert.equal(answer.status, 403);
    assert.ok(JSON.parse(answer.text).code.includes('suspended'), answer.text);
  }

  // A stranger reads nothing and reaches nothing, however it asks.
  for (const options of [
    {},
    { credentials: 'include' },
    { method: 'POST', body: 'x' },
    { method: 'PUT', headers: json, body: '{}' },
  ]) {
    assert.equal((await attempt(stranger, `${env.API}/from-a-stranger`, options)).error, 'TypeError');
  }
  // no-cors lets a page send without reading: it must not arrive either.
  const blind = { mode: 'no-cors', method: 'POST', body: 'x' };
  assert.equal((await attempt(stranger, `${env.API}/from-a-stranger`, blind)).type, 'opaque');
  // A sandboxed frame has the origin `null`.
  const sandboxed = await stranger.evaluate(
    (url) =>
      new Promise((done) => {
        addEventListener('message', (event) => done(event.data));
        const frame = document.createElement('iframe');
        frame.sandbox = 'allow-scripts';
        frame.srcdoc = `<script>fetch('${url}').then((r) => parent.postMessage('read ' + r.status, '*'),
          (e) => parent.postMessage(e.name, '*'))</script>`;
        document.body.append(frame);
      }),
    `${env.API}/from-a-stranger`,
  );
  assert.equal(sandboxed, 'TypeError');

  // CORS does not hold for WebSockets: only the gateway refuses them.
  const socket = env.API.replace(/^http/, 'ws');
  assert.equal(await webSocket(plain, `${socket}/ws`), 'hello');
  assert.equal(await webSocket(stranger, `${socket}/from-a-stranger`), 'refused');

  // Over https the browser takes an HTTP/2 connection that it has for them, too, if that one may carry cookies.
  const secure = env.API_HTTPS.replace(/^http/, 'ws');
  assert.equal((await attempt(trusted, `${env.API_HTTPS}/x`, { credentials: 'include' })).status, 200);
  assert.equal(await webSocket(trusted, `${secure}/ws-over-http2`), 'hello');
  assert.equal(await webSocket(stranger, `${secure}/from-a-stranger`), 'refused');
}

/** A site of files: a single-page application's address, and a compressed fetch of a script's. */
async function site() {
  const page = await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage();
  await page.goto(`${env.SITE}/bookings/7?day=1`);
  await page.waitForFunction(() => document.querySelector('#where').textContent === '/bookings/7');
  const data = await attempt(page, '/big.json');
  assert.equal(JSON.parse(data.text).x.length, 20_000);
  assert.ok(data.headers['content-encoding'], JSON.stringify(data.headers));
  // A script that is missing is missing, not a page.
  assert.equal((await attempt(page, '/none.mjs')).status, 404);
  // Known files are not sent again.
  const again = await attempt(page, '/big.json', { cache: 'no-cache' });
  assert.equal(JSON.parse(again.text).x.length, 20_000);
}

try {
  await { shops, policy, site }[process.argv[2]]();
} finally {
  await browser.close();
}
