// The tiles: what goes through now. The gateway gives sums; two of them a moment apart are a rate.

import { at, keep, look, make, say } from './elements.js';
import { amount } from './words.js';

const SVG = 'http://www.w3.org/2000/svg';
const POINTS_MAX = 90; // three minutes of polls
const [WIDTH, HEIGHT] = [120, 28];

let last; // the sums of the poll before, with their time
let rates = []; // requests per second, oldest first

const sum = (counts) => Object.values(counts).reduce((all, one) => all + one, 0);
const failed = (traffic) => traffic.requests['5xx'] ?? 0;

/** Shows what goes through. */
export function showTraffic({ now, traffic, house }) {
  const moment = Date.parse(now);
  const seconds = last ? (moment - last.moment) / 1000 : 0;
  const since = (of) => of(traffic) - of(last.traffic);
  // Sums that fell belong to a gateway that has been started again.
  const known = seconds > 0 && seconds < 60 && since((one) => sum(one.requests)) >= 0;
  const perSecond = (of) => (known ? since(of) / seconds : undefined);
  const requests = perSecond((one) => sum(one.requests));
  if (requests === undefined) rates = [];
  else rates = [...rates, requests].slice(-POINTS_MAX);
  const quick = known ? quantile(last.traffic.first_byte, traffic.first_byte, 0.95) : undefined;
  const errors = perSecond(failed);
  const refused = perSecond((one) => sum(one.refusals));
  const inFlight = house.backends.flatMap((one) => one.workers).reduce((all, worker) => all + worker.in_flight, 0);
  last = { moment, traffic };
  keep(
    at('tiles'),
    [
      { name: 'Requests', value: rate(requests), line: rates },
      { name: 'First byte, 95 %', value: quick ?? '–' },
      { name: 'Failed (5xx)', value: rate(errors), tone: errors > 0 ? 'ill' : '' },
      { name: 'Own answers', value: rate(refused) },
      { name: 'In flight', value: amount(inFlight) },
      { name: 'Waiting', value: amount(traffic.requests_waiting), tone: traffic.requests_waiting > 0 ? 'care' : '' },
      { name: 'Connections', value: amount(traffic.connections_open) },
      { name: 'WebSockets', value: amount(traffic.websockets_open) },
    ],
    (tile) => tile.name,
    create,
    (element, tile) => {
      const [name, value] = element.children;
      say(name, tile.name);
      say(value, tile.value);
      look(value, tile.tone ? `tone ${tile.tone}` : '');
      if (tile.line) draw(element.querySelector('path'), tile.line);
    },
  );
}

/** Nothing is known any more: the next sums are the first ones. */
export function forgetTraffic() {
  last = undefined;
  rates = [];
}

const rate = (number) => (number === undefined ? '–' : `${amount(number)} /s`);

function create(tile) {
  const element = make('div', 'tile');
  element.append(make('dt'), make('dd'));
  if (tile.line) {
    const line = document.createElementNS(SVG, 'svg');
    line.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
    line.setAttribute('preserveAspectRatio', 'none');
    line.setAttribute('aria-hidden', 'true');
    line.append(document.createElementNS(SVG, 'path'));
    element.append(line);
  }
  return element;
}

/** The rates as a line, the newest at the right. */
function draw(path, points) {
  const top = Math.max(1, ...points);
  const step = WIDTH / (POINTS_MAX - 1);
  const begin = WIDTH - (points.length - 1) * step;
  const place = (point, index) => `${(begin + index * step).toFixed(1)} ${(HEIGHT - 2 - (point / top) * (HEIGHT - 4)).toFixed(1)}`;
  path.setAttribute('d', points.length > 1 ? `M${points.map(place).join(' L')}` : '');
}

/** Within what so many of the answers between two polls have begun: the upper bound of the bucket. */
function quantile(before, after, part) {
  const counts = after.map(([bound, all], index) => [bound, all - (before[index]?.[1] ?? 0)]);
  const total = counts.at(-1)?.[1] ?? 0;
  if (total <= 0) return undefined;
  const [bound] = counts.find(([, all]) => all >= total * part) ?? counts.at(-1);
  const ms = Number(bound) * 1000;
  if (!Number.isFinite(ms)) return 'longer than 16 s';
  return ms >= 1000 ? `≤ ${amount(ms / 1000)} s` : `≤ ${amount(ms)} ms`;
}
