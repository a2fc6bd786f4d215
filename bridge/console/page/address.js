// What the page’s address says after its key, which is the same on every console of a stack: a story, and filters.

export const FILTERS = ["source", "reference", "ticket_id", "helpdesk", "state", "since", "most"];

// Of an address, or of the part after its #; null where that is only a place on the page.
function saidIn(address) {
  const said = address.slice(address.indexOf("#") + 1);
  return said && !said.includes("=") ? null : new URLSearchParams(said);
}

// A request’s id, as it is or in an address that somebody has sent.
export const requestIn = (text) => (text.includes("#") && saidIn(text)?.get("request")) || text;

const written = (names) => `#${String(new URLSearchParams(names)).replaceAll("%3A", ":").replaceAll("%2F", "/").replaceAll("%7E", "~")}`;
export const addressOf = (requestId) => written({ request: requestId });

// Longer ones are none.
const LONGEST_ID = 128;

function given(said) {
  const filters = Object.fromEntries(FILTERS.filter((name) => said.get(name)).map((name) => [name, said.get(name)]));
  return { requestId: (said.get("request") ?? "").slice(0, LONGEST_ID), filters };
}

// What is said now; `isAsked` means that a person has just asked for it on this page.
let show = () => {};
export function onAddress(how) {
  show = how;
  tellHere(false);
}

function tellHere(isAsked) {
  const said = saidIn(location.hash);
  if (said) show(given(said), isAsked);
}

// Goes to a story, or to filters, as one step of the browser’s history; what is left out stays as it is.
export function go({ requestId, filters }) {
  const before = given(saidIn(location.hash) ?? new URLSearchParams());
  const names = { ...(filters ?? before.filters) };
  const request = requestId ?? before.requestId;
  if (request) names.request = request;
  const next = Object.keys(names).length ? written(names) : "";
  if (next !== location.hash) history.pushState(null, "", next || location.pathname);
  tellHere(true);
}

// Says the filters of this address in other words, without a step of the browser’s history.
export function reword(filters) {
  const { requestId } = given(saidIn(location.hash) ?? new URLSearchParams());
  history.replaceState(null, "", written({ ...filters, ...(requestId && { request: requestId }) }));
}

// A link to a story: a click keeps the filters, and what is copied is the story’s own address.
export function follow(event, requestId) {
  if (event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  go({ requestId });
}

addEventListener("hashchange", () => tellHere(false));
