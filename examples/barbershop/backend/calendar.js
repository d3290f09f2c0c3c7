// Days and slots. Times are the shop's wall clock, without a zone: `2030-01-07` and `2030-01-07T10:00`.

const DATE = /^\d{4}-\d{2}-\d{2}$/;
const SLOT = /^(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2})$/;

/** Is it a day of the calendar? `2030-02-30` is not. */
export function isDate(text) {
  if (typeof text !== 'string' || !DATE.test(text)) return false;
  const day = new Date(`${text}T00:00:00Z`);
  return !Number.isNaN(day.getTime()) && day.toISOString().startsWith(text);
}

/** 0 is Sunday, as in the `hours` table. */
export function weekday(date) {
  return new Date(`${date}T00:00:00Z`).getUTCDay();
}

/** `2030-01-07T10:00` → `{ date, time }`, or nothing. */
export function parseSlot(text) {
  const [, date, time] = (typeof text === 'string' && SLOT.exec(text)) || [];
  return isDate(date) ? { date, time } : undefined;
}

/** Every slot between opening and closing: the last one ends by closing time. */
export function timesBetween(opens, closes, minutes) {
  const times = [];
  for (let at = toMinutes(opens); at + minutes <= toMinutes(closes); at += minutes) times.push(toTime(at));
  return times;
}

/** This minute on the machine's clock, in the form of a slot, so that text compares as time does. */
export function now() {
  const date = new Date();
  return new Date(date - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

const toMinutes = (time) => Number(time.slice(0, 2)) * 60 + Number(time.slice(3));
const toTime = (minutes) => new Date(minutes * 60_000).toISOString().slice(11, 16);
