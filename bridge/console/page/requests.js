// The latest requests as they come.

import { addressOf, follow } from "./address.js";
import { $, list, make, mark, tell, when } from "./elements.js";
import { look } from "./looking.js";

const SHOWN = 12;
const STATES = {
  sent: ["sent", ""], accepted: ["accepted", ""], waits: ["waiting", "wait"], unknown: ["in doubt", "wait"], parked: ["parked", "bad"],
  rejected: ["rejected", "bad"], succeeded: ["succeeded", "good"], changed: ["changed", ""],
  // As the ledger calls them.
  waiting: ["waiting", "wait"], working: ["working", ""], "in-doubt": ["in doubt", "wait"],
};
const seen = new Map();
let showsAll = false;

export function tellState(element, name) {
  const [words, level] = STATES[name] ?? [name, ""];
  tell(element, words);
  mark(element, level);
}

export const storyLink = (requestId) => make("a", { href: addressOf(requestId), "aria-label": `Story of ${requestId}`,
  on: { click: (event) => follow(event, requestId) } }, "Story");

export function requestRow(first) {
  const state = make("span", { className: "state" }), what = make("p"), why = make("p", { className: "quiet" });
  const element = make("li", { "data-request": first.request_id },
    make("div", { className: "row" }, state, make("div", {}, what, why), storyLink(first.request_id)));
  let shown = "";
  return { element, update: (now) => {
    const text = JSON.stringify(now);
    if (text === shown) return;
    shown = text;
    tellState(state, now.state);
    what.replaceChildren(now.operation ? `${now.operation} ` : "", make("span", { className: "id" }, now.request_id));
    if (now.ticket_id) what.append(" → ticket ", ticketLink(now));
    const words = [when(now.at), now.helpdesk, now.source && `from ${now.source}`, now.reference && `reference ${now.reference}`, now.code, now.message];
    tell(why, words.filter(Boolean).join(" · "));
  } };
}

function ticketLink(now) {
  const known = /^https?:\/\//.test(now.ticket_url ?? "");
  return known ? make("a", { href: now.ticket_url, target: "_blank", rel: "noopener noreferrer" }, now.ticket_id)
    : make("span", { className: "id" }, now.ticket_id);
}

export function showRequests(requests) {
  $("no-requests").hidden = requests.length > 0;
  list($("request-list"), showsAll ? requests : requests.slice(0, SHOWN), (request) => request.request_id, requestRow);
  $("more").hidden = requests.length <= SHOWN;
  tell($("more"), showsAll ? `Show the latest ${SHOWN} only` : `Show all ${requests.length}`);
  const ended = requests.filter((request) => seen.size && seen.get(request.request_id) !== request.state && STATES[request.state]?.[1]);
  if (ended.length) {
    tell($("news"), ended.slice(0, 3).map((request) => `${request.request_id} ${STATES[request.state][0]}${request.ticket_id ? `, ticket ${request.ticket_id}` : ""}`).join(". "));
  }
  seen.set("", "");
  for (const request of requests) seen.set(request.request_id, request.state);
}

$("more").addEventListener("click", () => { showsAll = !showsAll; look(); });
