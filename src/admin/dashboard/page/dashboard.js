// The page: looks at the gateway every two seconds while somebody sees it, one look after the other.

import { at, show } from './elements.js';
import { headline, showHouse } from './house.js';
import { forgetTenants, listen, showLogs, showTenants } from './lists.js';
import { forgetTraffic, showTraffic } from './traffic.js';
import { clock } from './words.js';

const EVERY_MS = 2_000;
const PATIENCE_MS = 15_000;

const AGAIN = 'Start `gateway dashboard` again and open the address that it prints.';

let seenAt; // when the gateway was seen last
let wake = () => {};

/** What a read gives; a problem says what is wrong and what to do about it. */
async function read(path) {
  let answer;
  try {
    answer = await fetch(path, { signal: AbortSignal.timeout(PATIENCE_MS), cache: 'no-store' });
  } catch {
    throw problem(0, 'The dashboard cannot be reached', `\`gateway dashboard\` or the connection to it has ended. This page goes on by itself if it comes back; otherwise: ${AGAIN}`);
  }
  const value = await answer.json().catch(() => ({}));
  if (answer.ok) return value;
  if (answer.status === 401) throw problem(401, 'This page is of an earlier dashboard', AGAIN);
  const detail = value.detail ?? `it answers ${answer.status}`;
  throw problem(answer.status, detail.charAt(0).toUpperCase() + detail.slice(1), value.hint);
}

function problem(status, message, remedy) {
  return Object.assign(new Error(message), { status, remedy });
}

/** One look at everything. */
async function look() {
  try {
    const seen = await read('/api/house');
    seenAt = seen.now;
    show(at('main'), true);
    document.body.classList.remove('stale');
    showHouse(seen);
    showTraffic(seen);
    await showTenants(seen, read);
    await showLogs(seen, read);
  } catch (problem) {
    // A mistake of the page's own is none of the gateway's: the browser's console has it.
    if (problem.status === undefined) reportError(problem);
    const since = seenAt ? `What is below was so at ${clock(seenAt)}.` : '';
    headline('ill', problem.message, [problem.remedy, since].filter(Boolean).join(' '));
    document.body.classList.add('stale');
    forgetTraffic();
    forgetTenants();
  }
}

/** Resolves after that time, or as soon as somebody wants to see something. */
function pause(ms) {
  return new Promise((resume) => {
    const timer = setTimeout(resume, ms);
    wake = () => {
      clearTimeout(timer);
      resume();
    };
  });
}

/** Resolves when the page is seen. */
function visible() {
  if (!document.hidden) return undefined;
  return new Promise((resume) => {
    document.addEventListener('visibilitychange', function changed() {
      if (document.hidden) return;
      document.removeEventListener('visibilitychange', changed);
      resume();
    });
  });
}

listen(() => wake());
for (;;) {
  await visible();
  await look();
  await pause(EVERY_MS);
}
