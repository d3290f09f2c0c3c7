// Builds and changes what is on the page. Whatever is shown goes in as text, never as markup, and only what has changed is
// touched: a selection, a scroll position or an opened line outlives every poll.

/** The element with that id. */
export const at = (id) => document.getElementById(id);

/** A new element of that class, with that text. */
export function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

/** Gives an element its text. */
export function say(element, text) {
  const wanted = String(text ?? '');
  if (element.textContent !== wanted) element.textContent = wanted;
}

/** Gives an element its class. */
export function look(element, className) {
  if (element.className !== className) element.className = className;
}

/** Shows an element or hides it. */
export function show(element, visible) {
  if (element.hidden === visible) element.hidden = !visible;
}

/** The children of `parent` are `items`, in that order; those that were there before are the same elements. */
export function keep(parent, items, keyOf, create, change) {
  const before = parent.kept ?? new Map();
  const now = new Map();
  for (const item of items) {
    // The same line twice is two lines.
    let key = String(keyOf(item));
    while (now.has(key)) key += '+';
    const element = before.get(key) ?? create(item);
    change(element, item);
    now.set(key, element);
  }
  for (const [key, element] of before) if (!now.has(key)) element.remove();
  let next = parent.firstChild;
  for (const element of now.values()) {
    if (element === next) next = next.nextSibling;
    else parent.insertBefore(element, next);
  }
  parent.kept = now;
}

/**
 * The rows of a table's body. `cellsOf` gives the cells of an item: a text, or `{ text, tone, note, number }`. The first
 * one names the row.
 */
export function rows(body, items, keyOf, cellsOf) {
  keep(body, items, keyOf, () => make('tr'), (row, item) => {
    cellsOf(item).forEach((value, index) => {
      const cell = typeof value === 'object' && value !== null ? value : { text: value };
      let element = row.children[index];
      if (!element) {
        element = row.appendChild(make(index ? 'td' : 'th'));
        if (!index) element.scope = 'row';
        element.append(make('span'));
      }
      look(element, cell.number ? 'number' : '');
      const [text] = element.children;
      say(text, cell.text ?? '');
      look(text, cell.tone ? `tone ${cell.tone}` : '');
      note(element, cell.note);
    });
  });
}

function note(cell, text) {
  let element = cell.children[1];
  if (!element && text) element = cell.appendChild(make('span', 'note'));
  if (element) {
    say(element, text);
    show(element, Boolean(text));
  }
}
