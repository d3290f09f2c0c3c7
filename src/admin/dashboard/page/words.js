// Numbers, times and states in words. It must never touch the page.

/** `3 d 4 h`, `4 h 2 min`, `2 min 5 s`, `5 s`: the two units that matter. */
export function duration(seconds) {
  const all = Math.max(0, Math.floor(seconds));
  const [days, hours, minutes] = [Math.floor(all / 86_400), Math.floor(all / 3600) % 24, Math.floor(all / 60) % 60];
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  if (minutes) return `${minutes} min ${all % 60} s`;
  return `${all} s`;
}

/** How long ago that was, or how far it is. */
export function away(at, now) {
  if (!at) return '–';
  const seconds = (Date.parse(at) - now) / 1000;
  if (Math.abs(seconds) < 1) return 'now';
  return seconds < 0 ? `${duration(-seconds)} ago` : `in ${duration(seconds)}`;
}

/** `in 32 days`, `today`, `ended 3 days ago`. */
export function ends(at, now) {
  const days = (Date.parse(at) - now) / 86_400_000;
  if (days < 0) return `ended ${count(Math.ceil(-days), 'day')} ago`;
  return days < 1 ? 'today' : `in ${count(Math.floor(days), 'day')}`;
}

/** `2026-03-01`. */
export const day = (at) => new Date(at).toISOString().slice(0, 10);

/** `08:15:42`, by the clock of who looks. */
export const clock = (at) => new Date(at).toLocaleTimeString([], { hour12: false });

/** `12`, `1.4`, `0.3`, `1,234`. */
export function amount(number) {
  if (number >= 10 || Number.isInteger(number)) return Math.round(number).toLocaleString('en');
  return number.toFixed(1);
}

/** `1 worker`, `2 workers`. */
export const count = (number, noun) => `${amount(number)} ${noun}${number === 1 ? '' : 's'}`;

/** How a state looks: what serves is calm, what is on its way is seen, what failed stands out. */
export function tone(state) {
  if (['ready', 'active', 'served', 'done', 'running', 'waiting'].includes(state)) return 'well';
  if (['back-off', 'ended', 'unreachable', 'failed', 'missing', 'failing', 'timed-out'].includes(state)) return 'ill';
  return state ? 'care' : '';
}
