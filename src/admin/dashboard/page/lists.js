// What is asked for by itself, because it may be long: tenants that are looked for, and the newest lines.

import { at, keep, look, make, rows, say, show } from './elements.js';
import { amount, clock, tone } from './words.js';

const TENANTS_EVERY_MS = 30_000;

let tenantsAsked = { key: '', at: 0 };
let wanted = () => {};

/** Calls `look` at once when somebody asks for something else. */
export function listen(look) {
  wanted = look;
  at('find').addEventListener('input', () => wanted());
  for (const id of ['level', 'worker', 'hold']) at(id).addEventListener('change', () => wanted());
}

/** Shows the tenants: asked for again when they have changed in number, when others are looked for, and now and then. */
export async function showTenants({ house: { tenants } }, read) {
  show(at('tenants-section'), tenants.total > 0);
  const parts = ['active', 'paused', 'suspended'].filter((word) => tenants[word] > 0);
  say(at('tenants-count'), parts.map((word) => `${amount(tenants[word])} ${word}`).join(' · '));
  const find = at('find').value;
  const key = JSON.stringify([tenants, find]);
  const now = performance.now();
  if (tenants.total === 0 || (key === tenantsAsked.key && now - tenantsAsked.at < TENANTS_EVERY_MS)) return;
  const { matched, shown } = await read(`/api/tenants?${new URLSearchParams({ find })}`);
  tenantsAsked = { key, at: now };
  say(at('tenants-shown'), shown.length < matched ? `${amount(shown.length)} of ${amount(matched)} shown` : find ? `${amount(matched)} found` : '');
  rows(at('tenants'), shown, (one) => one.id, (one) => [
    { text: one.id, note: one.declared ? 'in the configuration' : '' },
    { text: one.status, tone: tone(one.status) },
    places([...one.origins, ...one.hosts]),
    one.database ?? '–',
    one.backend ?? '–',
  ]);
}

const PLACES_MAX = 4;

function places(all) {
  const more = all.length - PLACES_MAX;
  return all.slice(0, PLACES_MAX).join(', ') + (more > 0 ? ` and ${more} more` : '');
}

/** The next look asks for the tenants, whatever it knows. */
export function forgetTenants() {
  tenantsAsked = { key: '', at: 0 };
}

/** Shows the newest lines of the level and the worker that are chosen; none, if they are to hold still. */
export async function showLogs({ house: { backends, jobs } }, read) {
  choices(backends, jobs);
  if (at('hold').checked) return;
  const chosen = { level: at('level').value, worker: at('worker').value };
  const asked = Object.entries(chosen).filter(([, value]) => value);
  let lines;
  try {
    lines = await read(`/api/logs?${new URLSearchParams(asked)}`);
  } catch (problem) {
    // One that has gone since it was chosen.
    if (problem.status !== 404) throw problem;
    say(at('logs-problem'), problem.message);
    return;
  }
  say(at('logs-problem'), lines.length ? '' : 'nothing of that kind has been written yet');
  const list = at('logs');
  const below = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  keep(list, lines, (one) => `${one.at} ${one.worker} ${one.text}`, createLine, (element, one) => look(element, one.level));
  if (below) list.scrollTop = list.scrollHeight;
}

function createLine(one) {
  const element = make('li');
  const time = make('time', '', clock(one.at));
  time.dateTime = one.at;
  element.append(time, make('span', 'who', one.worker), make('span', 'level', one.level), make('span', 'text', one.text));
  return element;
}

/** Whose lines may be chosen: all, a backend's, a worker's, a job's. */
function choices(backends, jobs) {
  const several = (backend) => (backend.workers.length > 1 ? backend.workers : []).map((worker) => worker.name);
  const ran = jobs.map((job) => `job/${job.name}`);
  const names = [...backends.filter((one) => one.kind === 'command').flatMap((one) => [one.name, ...several(one)]), ...ran];
  const chosen = at('worker').value;
  if (chosen && !names.includes(chosen)) names.push(chosen);
  keep(at('worker'), ['', ...new Set(names)], (name) => name, (name) => {
    const option = make('option', '', name || 'all');
    option.value = name;
    return option;
  }, () => {});
}
