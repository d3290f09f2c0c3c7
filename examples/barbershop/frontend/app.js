// The page: the shop, its days, its slots, its book. Whose shop it is, only the gateway knows.

import { Api, Problem } from './api.js';

const DAYS_SHOWN = 14;
const CALLS_SHOWN = 6;

const $ = (id) => document.getElementById(id);
const config = await (await fetch('/config.json')).json();
const scheme = new URLSearchParams(location.search).get('api') === 'https' ? 'https' : 'http';
const api = new Api(config, scheme, showCall);
const state = { shop: undefined, date: undefined, slot: undefined, mine: undefined };

/* ---- Small things ---------------------------------------------------------------------------------------------- */

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in made && name !== 'list') made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** A day as `2030-01-07`, at noon, so that no clock change moves it to its neighbour. */
function day(date) {
  return new Date(`${date}T12:00`);
}

function format(date, options) {
  return new Intl.DateTimeFormat('en-GB', options).format(day(date));
}

function longDay(date) {
  return format(date, { weekday: 'long', day: 'numeric', month: 'long' });
}

function nextDays(count) {
  const today = new Date();
  return Array.from({ length: count }, (_, ahead) => {
    const date = new Date(today.getFullYear(), today.getMonth(), today.getDate() + ahead);
    return [date.getFullYear(), date.getMonth() + 1, date.getDate()].map((part) => String(part).padStart(2, '0')).join('-');
  });
}

const hoursOf = (date) => state.shop.hours.find(({ weekday }) => weekday === day(date).getDay());

/* ---- The shop -------------------------------------------------------------------------------------------------- */

/** The three colours of the shop, if they are colours: they come from a database. */
function paint(shop) {
  for (const name of ['paper', 'ink', 'accent']) {
    if (/^#[0-9a-f]{6}$/i.test(shop[name])) document.documentElement.style.setProperty(`--${name}`, shop[name]);
  }
}

function showShop(shop) {
  paint(shop);
  $('hero-action').hidden = false;
  document.title = `${shop.name}: book a chair`;
  $('shop-name').textContent = shop.name;
  $('tagline').textContent = shop.tagline;
  $('address').textContent = shop.address || '\u00a0';
  $('slot-length').textContent = `${shop.slot_minutes} minutes a chair`;
  const hours = hoursOf(nextDays(1)[0]);
  const clock = new Date().toTimeString().slice(0, 5);
  const open = hours && hours.opens <= clock && clock < hours.closes;
  $('today').textContent = hours ? `${open ? 'Open now' : 'Today'}, ${hours.opens}–${hours.closes}` : 'Closed today';
  $('today').parentElement.classList.toggle('open', Boolean(open));
}

/* ---- Days ------------------------------------------------------------------------------------------------------ */

function showDays() {
  const dates = nextDays(DAYS_SHOWN);
  const clock = new Date().toTimeString().slice(0, 5);
  const worthwhile = (date, index) => hoursOf(date) && (index > 0 || clock < hoursOf(date).closes);
  state.date = dates.includes(state.date) ? state.date : dates.find(worthwhile) ?? dates[0];
  $('days').replaceChildren(
    ...dates.map((date, index) => {
      const shut = !hoursOf(date);
      const button = element(
        'button',
        { type: 'button', role: 'radio', className: shut ? 'day shut' : 'day', 'data-date': date },
        element('span', {}, index === 0 ? 'Today' : format(date, { weekday: 'short' })),
        element('strong', {}, format(date, { day: 'numeric' })),
        element('span', {}, shut ? 'closed' : format(date, { month: 'short' })),
      );
      button.setAttribute('aria-label', `${longDay(date)}${shut ? ', closed' : ''}`);
      return button;
    }),
  );
  markDay();
}

function markDay() {
  for (const button of $('days').children) {
    const chosen = button.dataset.date === state.date;
    button.setAttribute('aria-checked', String(chosen));
    button.tabIndex = chosen ? 0 : -1;
  }
}

function chooseDay(button) {
  if (!button || button.dataset.date === state.date) return;
  state.date = button.dataset.date;
  markDay();
  button.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  attempt(loadSlots);
}

$('days').addEventListener('click', (event) => chooseDay(event.target.closest('.day[data-date]')));

// A radio group is one stop of the Tab key; the arrows move in it.
$('days').addEventListener('keydown', (event) => {
  const buttons = [...$('days').children];
  const at = buttons.indexOf(document.activeElement);
  const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
  if (at < 0 || to === undefined) return;
  event.preventDefault();
  const button = buttons[(to + buttons.length) % buttons.length];
  button.focus();
  chooseDay(button);
});

/* ---- Slots ----------------------------------------------------------------------------------------------------- */

async function loadSlots() {
  const { date } = state;
  const waiting = setTimeout(() => showWaiting($('slots'), 12, 'grid'), 150);
  $('slots').setAttribute('aria-busy', 'true');
  try {
    const answer = await api.call(`/api/slots?date=${date}`);
    clearTimeout(waiting);
    if (date === state.date) showSlots(answer);
  } finally {
    clearTimeout(waiting);
  }
}

function showSlots({ date, closed, slots }) {
  $('slots').setAttribute('aria-busy', 'false');
  if (closed) return showEmpty($('slots'), `Closed on ${format(date, { weekday: 'long' })}s`, 'Choose another day.');
  if (!slots.some((slot) => slot.free)) return showEmpty($('slots'), 'Every chair is taken', 'Choose another day.');
  const parts = [
    ['Morning', slots.filter(({ time }) => time < '13:00')],
    ['Afternoon', slots.filter(({ time }) => time >= '13:00')],
  ].filter(([, part]) => part.length > 0);
  $('slots').replaceChildren(
    ...parts.flatMap(([title, part]) => [
      element('h3', { className: 'part' }, title),
      element('ul', { className: 'grid' }, ...part.map((slot) => element('li', {}, slotButton(slot)))),
    ]),
  );
}

function slotButton({ slot, time, free }) {
  const button = element('button', { type: 'button', className: 'slot', disabled: !free, 'data-slot': slot }, time);
  if (slot === state.mine) button.classList.add('mine');
  button.setAttribute('aria-label', free ? `Book ${time}` : `${time}, not free`);
  return button;
}

$('slots').addEventListener('click', (event) => {
  const button = event.target.closest('.slot');
  if (button) openDialog(button.dataset.slot);
});

function showWaiting(place, count, className) {
  const list = element('div', { className });
  for (let i = 0; i < count; i += 1) list.append(element('div', { className: 'skeleton' }));
  list.setAttribute('aria-hidden', 'true');
  place.replaceChildren(list);
}

function showEmpty(place, title, text) {
  place.replaceChildren(element('div', { className: 'empty' }, element('strong', {}, title), element('span', {}, text)));
}

/* ---- The book -------------------------------------------------------------------------------------------------- */

async function loadBookings() {
  const { bookings } = await api.call('/api/bookings');
  $('bookings').setAttribute('aria-busy', 'false');
  $('bookings-count').textContent = bookings.length > 0 ? `${bookings.length} to come` : '';
  if (bookings.length === 0) return showEmpty($('bookings'), 'Nobody yet', 'Be the first in the chair.');
  let last;
  const items = bookings.map(({ slot, name }) => {
    const [date, time] = slot.split('T');
    const heading = date === last ? [] : [element('h3', {}, format(date, { weekday: 'short', day: 'numeric', month: 'short' }))];
    last = date;
    const className = slot === state.mine ? 'entry mine' : 'entry';
    return element('li', {}, ...heading, element('p', { className }, element('time', { dateTime: slot }, time), element('span', {}, name)));
  });
  $('bookings').replaceChildren(element('ol', { className: 'entries' }, ...items));
}

/* ---- Booking --------------------------------------------------------------------------------------------------- */

function openDialog(slot) {
  const [date, time] = slot.split('T');
  state.slot = slot;
  $('dialog-day').textContent = longDay(date);
  $('dialog-title').textContent = time;
  $('form').hidden = false;
  $('done').hidden = true;
  formError('');
  $('dialog').showModal();
  $('name').focus();
}

function formError(text) {
  $('form-error').textContent = text;
  $('name').setAttribute('aria-invalid', String(text !== ''));
}

$('form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const name = $('name').value.trim();
  if (!name) return formError('Write your name, so that we can call you.');
  if ($('confirm').getAttribute('aria-disabled') === 'true') return undefined;
  $('confirm').setAttribute('aria-disabled', 'true');
  formError('');
  try {
    const booked = await api.call('/api/bookings', { slot: state.slot, name });
    state.mine = booked.slot;
    showDone(booked);
  } catch (error) {
    formError(error instanceof Problem ? `${error.title}. ${error.text}`.replace(/^That did not work\. /, '') : String(error));
  } finally {
    $('confirm').setAttribute('aria-disabled', 'false');
  }
  return attempt(refresh);
});

function showDone({ slot, name }) {
  const [date, time] = slot.split('T');
  $('form').hidden = true;
  $('done').hidden = false;
  $('done-title').textContent = `See you then, ${name.split(' ')[0]}`;
  $('done-text').textContent = `${longDay(date)} at ${time}, ${state.shop.name}.`;
  $('done-title').focus();
}

$('dialog').addEventListener('click', (event) => {
  // A click on the backdrop has the dialog itself as its target.
  if (event.target === $('dialog') || event.target.closest('[data-close]')) $('dialog').close();
});

/* ---- What went wrong ------------------------------------------------------------------------------------------- */

function showProblem(problem) {
  const again = element('button', { type: 'button', className: 'button' }, 'Try again');
  again.addEventListener('click', () => attempt(start));
  const steps = problem.steps.map(([text, command]) =>
    element('li', {}, text, ...(command ? [commandBox(command)] : [])),
  );
  $('notice').replaceChildren(
    element('h2', {}, problem.title),
    element('p', {}, problem.text),
    ...(steps.length > 0 ? [element('ol', {}, ...steps)] : []),
    element('div', { className: 'actions' }, again),
  );
  $('notice').dataset.code = problem.code || String(problem.status);
  $('notice').hidden = false;
  $('columns').hidden = !state.shop;
  $('hero-action').hidden = !state.shop;
  if (!state.shop) $('today').textContent = 'The calendar cannot be read';
  for (const place of [$('slots'), $('bookings')]) {
    if (place.querySelector('.skeleton')) showEmpty(place, 'Not read yet', 'See above.');
  }
}

function commandBox(command) {
  const copy = element('button', { type: 'button' }, 'Copy');
  copy.addEventListener('click', async () => {
    await navigator.clipboard.writeText(command);
    copy.textContent = 'Copied';
  });
  return element('div', { className: 'command' }, element('code', {}, command), copy);
}

/** Runs a step; what fails is shown at the top of the page, what works takes the notice away. */
async function attempt(step) {
  try {
    await step();
    $('notice').hidden = true;
    $('columns').hidden = false;
  } catch (error) {
    if (!(error instanceof Problem)) console.error(error);
    showProblem(error instanceof Problem ? error : new Problem({ title: 'This page made a mistake', text: String(error) }));
  }
}

/* ---- On the wire ----------------------------------------------------------------------------------------------- */

function showCall({ method, path, status, ms, id }) {
  const item = element(
    'li',
    { className: status >= 200 && status < 400 ? '' : 'bad', title: id ? `x-request-id ${id}` : '' },
    element('span', {}, method),
    element('span', { className: 'path' }, path),
    element('span', { className: 'status' }, status === 0 ? 'none' : String(status)),
    element('span', { className: 'ms' }, `${ms.toFixed(ms < 10 ? 1 : 0)} ms`),
  );
  $('calls').prepend(item);
  while ($('calls').children.length > CALLS_SHOWN) $('calls').lastChild.remove();
}

function showSwitch() {
  $('origin').textContent = location.origin;
  for (const input of document.querySelectorAll('#api-switch input')) {
    input.checked = input.value === scheme;
    input.nextElementSibling.querySelector('small').textContent = config.api[input.value].replace(/^https?:\/\//, '');
  }
  $('api-switch').addEventListener('change', (event) => {
    const url = new URL(location.href);
    if (event.target.value === 'https') url.searchParams.set('api', 'https');
    else url.searchParams.delete('api');
    location.assign(url);
  });
}

/* ---- Start ----------------------------------------------------------------------------------------------------- */

async function start() {
  showShopWaiting();
  state.shop = await api.call('/api/shop');
  showShop(state.shop);
  showDays();
  await refresh();
}

function showShopWaiting() {
  if (state.shop) return;
  $('shop-name').textContent = config.shop[0].toUpperCase() + config.shop.slice(1);
  $('columns').hidden = false;
  $('days').replaceChildren(...nextDays(7).map(() => element('div', { className: 'day skeleton' })));
  showWaiting($('slots'), 12, 'grid');
  showWaiting($('bookings'), 3, 'entries');
}

async function refresh() {
  await Promise.all([loadSlots(), loadBookings()]);
}

showSwitch();
attempt(start);
