// The latest requests, and the story of each.

import { ask } from "./asking.js";
import { $, acting, clock, list, make, mark, moment, tell } from "./elements.js";
import { look } from "./looking.js";

const SHOWN = 12;
const STATES = {
  sent: ["sent", ""], accepted: ["accepted", ""], waits: ["waits", "wait"], unknown: ["in doubt", "wait"], parked: ["parked", "bad"],
  rejected: ["rejected", "bad"], succeeded: ["succeeded", "good"], changed: ["changed", ""],
};
const seen = new Map();
let showsAll = false;

async function storyInto(box, requestId) {
  try {
    const story = await ask(`trace?${new URLSearchParams({ request_id: requestId })}`);
    box.replaceChildren(make("p", {}, make("strong", {}, requestId), ` – ${story.stands}`),
      ...story.errors.map((error) => make("p", { className: "problem" }, `${error.field}: ${error.problem}`)),
      ...story.unread.map((words) => make("p", { className: "quiet" }, `Not read. ${words}`)),
      make("ol", {}, ...story.steps.map((step) => make("li", {}, moment(step.at), make("span", {}, step.text)))));
  } catch (failure) {
    box.replaceChildren(make("p", {}, failure.message));
  }
}

function requestRow(first) {
  const state = make("span", { className: "state" }), what = make("p"), why = make("p", { className: "quiet" });
  const box = make("div", { className: "story", hidden: true });
  const button = make("button", { type: "button", className: "plain", "aria-expanded": "false", "aria-label": `Story of ${first.request_id}` }, "Story");
  const element = make("li", { "data-request": first.request_id },
    make("div", { className: "row" }, state, make("div", {}, what, why), button), box);
  let last = first, shown = "";
  const tellStory = () => storyInto(box, last.request_id);
  button.addEventListener("click", async () => {
    box.hidden = !box.hidden;
    button.setAttribute("aria-expanded", String(!box.hidden));
    if (!box.hidden) await tellStory();
  });
  return { element, update: (now) => {
    last = now;
    const text = JSON.stringify(now);
    if (text === shown) return;
    shown = text;
    const [words, level] = STATES[now.state] ?? [now.state, ""];
    tell(state, words);
    mark(state, level);
    what.replaceChildren(now.operation ? `${now.operation} ` : "", make("span", { className: "id" }, now.request_id));
    if (now.ticket_id) what.append(" → ticket ", ticketLink(now));
    tell(why, [clock(now.at), now.helpdesk, now.source && `from ${now.source}`, now.code, now.message].filter(Boolean).join(" · "));
    if (!box.hidden) tellStory();
  } };
}

function ticketLink(now) {
  const known = /^https?:\/\//.test(now.ticket_url ?? "");
  return known ? make("a", { href: now.ticket_url, target: "_blank", rel: "noopener noreferrer" }, now.ticket_id)
    : make("span", { className: "id" }, now.ticket_id);
}

export function showRequests(requests) {
  $("no-requests").hidden = requests.length > 0;
  list($("request-list"), showsAll ? requests : requests.slice(0, SHOWN), (one) => one.request_id, requestRow);
  $("more").hidden = requests.length <= SHOWN;
  tell($("more"), showsAll ? `Show the latest ${SHOWN} only` : `Show all ${requests.length}`);
  const ended = requests.filter((one) => seen.size && seen.get(one.request_id) !== one.state && STATES[one.state]?.[1]);
  if (ended.length) {
    tell($("news"), ended.slice(0, 3).map((one) => `${one.request_id} ${STATES[one.state][0]}${one.ticket_id ? `, ticket ${one.ticket_id}` : ""}`).join(". "));
  }
  seen.set("", "");
  for (const one of requests) seen.set(one.request_id, one.state);
}

$("more").addEventListener("click", () => { showsAll = !showsAll; look(); });
$("find").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.currentTarget;
  const box = make("div", { className: "story", role: "status" }, make("p", {}, "Looking …"));
  $("found").replaceChildren(box);
  await acting(event.submitter ?? form.querySelector("button"), () => storyInto(box, form.request_id.value.trim()));
});
