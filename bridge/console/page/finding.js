// Finds requests by what people know of them; the filters stand in the page’s address.

import { FILTERS, go, requestIn, reword } from "./address.js";
import { ask } from "./asking.js";
import { $, acting, clock, list, mark, many, tell } from "./elements.js";
import { clearProblems, showProblems } from "./problems.js";
import { requestRow } from "./requests.js";

const form = $("filters"), button = form.querySelector("button.main");
let shown = "";

$("find").addEventListener("submit", (event) => {
  event.preventDefault();
  const requestId = event.currentTarget.request_id;
  requestId.value = requestIn(requestId.value.trim());
  go({ requestId: requestId.value });
  $("story").focus();
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  shown = "";
  const filled = FILTERS.map((name) => [name, form[name].value.trim()]).filter(([, words]) => words);
  go({ filters: Object.fromEntries(filled) });
  if (!filled.length) tell($("find-answer"), "Fill in at least one field.");
});
$("latest").addEventListener("click", () => go({ filters: {} }));

export async function showFilters(filters, isAsked) {
  const text = JSON.stringify(filters), isFiltered = text !== "{}";
  $("found").hidden = !isFiltered;
  $("newest").hidden = isFiltered;
  if (text === shown) return;
  shown = text;
  for (const name of FILTERS) form[name].value = filters[name] ?? "";
  tell($("find-answer"), "");
  clearProblems(form);
  if (!isFiltered) return;
  $("finding").open = true;
  list($("found-list"), [], (request) => request.request_id, requestRow);
  const find = () => search(filters, isAsked, () => shown === text);
  // Who has come by an address has the focus where the page begins.
  await (isAsked ? acting(button, find) : find());
}

async function search(filters, isAsked, isWanted) {
  const answer = $("find-answer");
  const say = (words, level = "") => { if (isWanted()) { mark(answer, level); tell(answer, words); } };
  try {
    say("Looking what it costs …");
    const price = await ask("price", {});
    if (price.is_high && !isAsked) {
      say(`Find reads ${price.words}. Press it if that is meant.`, "wait");
      return;
    }
    say(price.is_high ? `Reading ${price.words} …` : "Reading …");
    const most = filters.most ? { most: Number(filters.most) } : {};
    const { requests, since, may_be_more: more } = await ask("find", { ...filters, ...most });
    if (!isWanted()) return;
    list($("found-list"), requests, (request) => request.request_id, requestRow);
    const count = requests.length ? `${many(requests.length, "request")} at ${clock(Date.now() / 1000)}.` : "No such request.";
    say([count, more && "There may be more: raise Most.", price.is_high && `Read: ${price.words}.`].filter(Boolean).join(" "));
    // 2h stays in its field, and the address says the moment: it means the same to who gets it.
    if (since) {
      shown = JSON.stringify({ ...filters, since });
      reword({ ...filters, since });
    }
  } catch (failure) {
    if (isWanted()) say([failure.message, ...showProblems(form, failure.errors)].join("; "), "bad");
  }
}
