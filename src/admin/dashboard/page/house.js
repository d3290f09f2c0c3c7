// Everything but the lists that are asked for by themselves: headline, backends, jobs, certificates, pools, sites.

import { at, keep, look, make, rows, say, show } from './elements.js';
import { amount, away, count, day, duration, ends, tone } from './words.js';

const WELL_AGAIN = ['ready', 'draining', 'finished'];

/** Shows the house. */
export function showHouse({ now: moment, house }) {
  const now = Date.parse(moment);
  headline(house.judgement.weight, house.judgement.headline);
  say(at('version'), house.version);
  const listeners = house.listeners.map((one) => `${one.kind} ${one.address}`).join(' · ');
  const swaps = house.swaps ? ` · swapped ${house.swaps === 1 ? 'once' : count(house.swaps, 'time')}` : '';
  say(at('facts'), `${house.state} for ${duration(house.uptime_s)} · pid ${house.pid}${swaps} · ${listeners || 'no listeners'}`);
  findings(house.judgement);
  show(at('backends-section'), house.backends.length > 0);
  keep(at('backends'), house.backends, (one) => one.name, createBackend, (element, one) => showBackend(element, one, now));
  jobs(house.jobs, now);
  certificates(house.certificates, now);
  pools(house);
  show(at('sites-section'), house.sites.length > 0);
  rows(at('sites'), house.sites, (one) => one.site, (one) => [one.site, one.does]);
}

/** Says how things are, in the page's head and in its tab, with what to do about it. */
export function headline(weight, text, remedy) {
  at('head').dataset.weight = weight;
  say(at('headline'), text);
  say(at('remedy'), remedy ?? '');
  show(at('remedy'), Boolean(remedy));
  const sign = { well: '✓', care: '!', ill: '✗' }[weight] ?? '…';
  const title = `${sign} ${text} – gateway`;
  if (document.title !== title) document.title = title;
}

function findings({ findings: all, left_out: more }) {
  show(at('care'), all.length > 0);
  keep(at('findings'), all, (one) => one.text, () => make('li'), (element, one) => {
    say(element, one.text);
    look(element, one.weight);
  });
  say(at('findings-more'), `and ${more} more: \`gateway status\``);
  show(at('findings-more'), more > 0);
}

const HEADS = ['Worker', 'State', 'Since', 'Pid', 'Memory', 'In flight', 'Restarts', 'Health'];

function createBackend(backend) {
  const element = make('article', 'backend');
  const head = make('h3');
  head.append(make('span', 'name', backend.name), make('span', 'tone'));
  const scroll = make('div', 'scroll');
  const table = scroll.appendChild(make('table'));
  table.append(make('caption', 'unseen', `Workers of ${backend.name}`));
  const row = table.appendChild(make('thead')).appendChild(make('tr'));
  HEADS.forEach((text, index) => {
    const cell = row.appendChild(make('th', index > 2 ? 'number' : '', text));
    cell.scope = 'col';
  });
  table.append(make('tbody'));
  element.append(head, make('p', 'facts'), scroll, make('div', 'ends'));
  return element;
}

function showBackend(element, backend, now) {
  const [head, facts, scroll, ends] = element.children;
  const [, state] = head.children;
  say(state, verdict(backend));
  look(state, `tone ${backend.stopped ? 'care' : backend.ready === 0 ? 'ill' : backend.ready < backend.wanted ? 'care' : 'well'}`);
  say(facts, aboutBackend(backend, now));
  const { workers } = backend;
  show(scroll, workers.length > 0);
  rows(scroll.querySelector('tbody'), workers, (one) => one.name, (one) => [
    one.name,
    { text: one.state, tone: tone(one.state) },
    duration((now - Date.parse(one.since)) / 1000),
    { text: one.pid ?? '–', number: true },
    { text: one.memory_mb === null ? '–' : `${amount(one.memory_mb)} MB`, number: true },
    { text: one.in_flight, number: true },
    { text: one.restarts, number: true, tone: one.restarts > 0 ? 'seen' : '' },
    { text: one.health_ms === null ? '–' : `${one.health_ms} ms`, number: true },
  ]);
  keep(ends, workers.filter((one) => one.last_error), (one) => one.name, createEnd, showEnd);
}

function verdict({ kind, stopped, ready, wanted, workers }) {
  if (stopped) return 'stopped by order';
  if (ready === 0) return 'does not serve';
  return kind === 'upstream' ? `${ready} of ${count(workers.length, 'address')} ready` : `${ready} of ${count(wanted, 'worker')} ready`;
}

function aboutBackend(backend, now) {
  const parts = [backend.kind === 'upstream' ? 'an upstream that something else runs' : `generation ${backend.generation}`];
  if (backend.node) parts.push(`Node ${backend.node}`);
  if (backend.isolation) parts.push(`as ${backend.isolation.user}, sandbox ${backend.isolation.sandbox}`);
  if (backend.order) parts.push(`${backend.order} under way`);
  if (backend.deploy) parts.push(`deploy by ${backend.deploy.by}: ${backend.deploy.step}, begun ${away(backend.deploy.since, now)}`);
  return parts.join(' · ');
}

/** How a worker ended last: open while it matters, folded once it serves again. */
function createEnd() {
  const element = make('details');
  element.append(make('summary'), make('ul', 'facts'), make('pre'));
  return element;
}

function showEnd(element, worker) {
  const [summary, facts, lines] = element.children;
  const over = WELL_AGAIN.includes(worker.state);
  say(summary, over ? `${worker.name} ended once: ${worker.last_error}` : `${worker.name}: ${worker.last_error}`);
  look(element, over ? 'over' : '');
  // Opened and closed by who looks, but for the moment at which it begins or ceases to matter.
  if (element.over !== over) element.open = !over;
  element.over = over;
  keep(facts, worker.last_facts, (fact) => fact, () => make('li'), say);
  show(facts, worker.last_facts.length > 0);
  say(lines, worker.last_lines.join('\n'));
  show(lines, worker.last_lines.length > 0);
}

function jobs(all, now) {
  show(at('jobs-section'), all.length > 0);
  rows(at('jobs'), all, (one) => one.name, (one) => [
    { text: one.name, note: one.each_tenant ? 'once per tenant' : '' },
    { text: one.schedule ?? 'always', note: one.timezone === 'UTC' ? '' : one.timezone },
    { text: one.state, tone: tone(one.state) },
    away(one.last_started, now),
    { text: one.outcome ?? '–', tone: one.good ? tone(one.outcome) : 'ill', note: one.detail },
    away(one.next, now),
  ]);
}

function certificates({ total, shown }, now) {
  show(at('certificates-section'), total > 0);
  say(at('certificates-count'), shown.length < total ? `${amount(shown.length)} of ${amount(total)}, those that want care first` : amount(total));
  rows(at('certificates'), shown, (one) => one.host, (one) => [
    one.host,
    { text: one.state, tone: one.care ? (tone(one.state) === 'ill' ? 'ill' : 'care') : 'well' },
    one.not_after ? { text: ends(one.not_after, now), note: day(one.not_after) } : '–',
    one.source ?? '–',
    one.trouble ?? '',
  ]);
}

function pools({ doors, pools: { total, shown } }) {
  show(at('pools-section'), doors.length > 0 || total > 0);
  const door = (one) => `${one.door} at ${one.address}: ${count(one.connections, 'connection')}, ${count(one.streams, 'stream')}`;
  say(at('doors'), doors.map(door).join(' · '));
  say(at('pools-count'), shown.length < total ? `${amount(shown.length)} of ${amount(total)}, those with a queue first` : total || '');
  show(at('pools').closest('.scroll'), shown.length > 0);
  rows(at('pools'), shown, (one) => `${one.tenant} ${one.engine}`, (one) => [
    one.tenant,
    one.engine,
    { text: `${one.in_use} / ${one.max}`, number: true, tone: one.in_use >= one.max ? 'care' : '' },
    { text: one.open, number: true },
    { text: one.waiting, number: true, tone: one.waiting > 0 ? 'care' : '' },
  ]);
}
