// Makes and changes elements. Other people’s words go into the page as text only (textContent), never as HTML.

export const $ = (id) => document.getElementById(id);

export function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "on") for (const [event, act] of Object.entries(value)) element.addEventListener(event, act);
    else if (key.includes("-")) element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children);
  return element;
}

export const bad = (words) => make("p", { className: "answer", "data-level": "bad" }, words);
export const quiet = (words) => make("p", { className: "quiet" }, words);
export const button = (words, press, properties = {}) => make("button",
  { type: "button", on: { click: (event) => press(event.currentTarget) }, ...properties }, words);
// It is remembered for as long as the ledger keeps the request.
export const whyDrop = () => make("input", { name: "why", autocomplete: "off", placeholder: "no words of customers", maxLength: 200 });

export function tell(element, words) {
  // What is not changed is not read out again, and keeps a person's selection.
  if (element.textContent !== words) element.textContent = words;
}

export function mark(element, level) {
  if (element.dataset.level !== level) element.dataset.level = level;
}

// Keeps one element for each item, so that focus and what is unfolded outlive the next look.
export function list(container, items, keyOf, create) {
  container.kept ??= new Map();
  const kept = new Map();
  let place = null;
  for (const item of items) {
    const key = keyOf(item);
    const row = container.kept.get(key) ?? create(item);
    row.update(item);
    kept.set(key, row);
  }
  for (const [key, row] of container.kept) if (!kept.has(key)) row.element.remove();
  for (const row of kept.values()) {
    const next = place ? place.nextSibling : container.firstChild;
    if (row.element !== next) container.insertBefore(row.element, next);
    place = row.element;
  }
  container.kept = kept;
}

export const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour12: false });
// Moments in the server's sentences, as this browser shows times.
export const local = (words) => words.replace(/\d{4}-\d\d-\d\dT[\d:]+Z/g, (at) => clock(Date.parse(at) / 1000));
// With its date, where that is not today’s.
export function when(seconds) {
  const date = new Date(seconds * 1000);
  return date.toDateString() === new Date().toDateString() ? clock(seconds) : `${date.toLocaleDateString("sv")} ${clock(seconds)}`;
}
export const moment = (seconds) => make("time", { dateTime: new Date(seconds * 1000).toISOString() }, when(seconds));
export const many = (count, noun, nouns = `${noun}s`) => `${count} ${count === 1 ? noun : nouns}`;

export async function acting(button, act) {
  button.disabled = true;
  // Disabled because it is at work, and not because it may not be pressed.
  button.ariaBusy = "true";
  try {
    return await act();
  } finally {
    button.disabled = false;
    button.ariaBusy = null;
    // A button that is disabled loses the focus.
    if (document.activeElement === document.body && button.isConnected) button.focus();
  }
}

export function done(words, level = "") {
  mark($("done"), level);
  tell($("done"), words);
  clearTimeout(done.timer);
  if (level !== "bad") done.timer = setTimeout(() => tell($("done"), ""), 8000);
}
