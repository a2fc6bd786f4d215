// A request’s story at its own address.

import { addressOf, go } from "./address.js";
import { ask } from "./asking.js";
import { closeCopies, hasCopies, isInUse, showCopies } from "./copies.js";
import { $, acting, button, done, make, moment, quiet } from "./elements.js";
import { tellState } from "./requests.js";

// What is read of the dead-letter queue without being asked: each look reads all of it.
const MOST_LOOKED_AT = 100;
// Where a copy is likely. One that has used the id of another request is parked whatever became of that one.
const MAY_BE_PARKED = ["", "rejected", "parked"];
let shown = "", cameFrom = null, last = "", parked = 0, parkedBefore = 0;

export function openStory(requestId) {
  if (requestId === shown) return;
  if (!shown) cameFrom = document.activeElement;
  shown = requestId;
  last = "";
  closeCopies();
  $("story").hidden = !requestId;
  if (!requestId) {
    (cameFrom?.isConnected && cameFrom !== document.body ? cameFrom : $("requests")).focus();
    return;
  }
  $("story-title").replaceChildren("Request ", make("span", { className: "id" }, requestId));
  $("story-content").replaceChildren(make("p", {}, "Looking …"));
  $("story-state").hidden = true;
  $("story").focus();
  tellStory();
}

// What has just been seen of the stack: the open story goes on.
export function showStory(now) {
  parked = now.queues?.parked ?? 0;
  if (!shown) return;
  const text = JSON.stringify(now.requests.find((request) => request.request_id === shown) ?? "");
  const isNew = last && text !== last;
  last = text;
  if (isNew || (parked > parkedBefore && !$("story-copies").hidden && !hasCopies())) tellStory();
}

async function tellStory() {
  const requestId = shown;
  try {
    const story = await ask(`trace?${new URLSearchParams({ request_id: requestId })}`);
    if (requestId !== shown) return;
    $("story-state").hidden = !story.state;
    tellState($("story-state"), story.state);
    $("story-content").replaceChildren(make("p", {}, story.stands),
      ...story.errors.map((error) => make("p", { className: "problem" }, `${error.field}: ${error.problem}`)),
      ...story.unread.map((words) => quiet(`Not read. ${words}`)),
      make("ol", {}, ...story.steps.map((step) => make("li", {}, moment(step.at), make("span", {}, step.text)))));
    $("story-share").replaceChildren(
      shared(addressOf(requestId), "Copy link", "At the end of the address of any console of this stack, or in its field Request id:"),
      shared(story.command, "Copy command", "In a terminal:"));
    if (!isInUse()) await offerCopies(story);
  } catch (failure) {
    if (requestId === shown) $("story-content").replaceChildren(make("p", {}, failure.message));
  }
}

function offerCopies(story) {
  parkedBefore = parked;
  const mayBeParked = MAY_BE_PARKED.includes(story.state);
  $("story-copies").hidden = !mayBeParked && !parked;
  if ($("story-copies").hidden) return closeCopies();
  const told = [story.stands, ...story.errors.map((error) => `${error.field}: ${error.problem}`)];
  const find = () => showCopies(shown, told, tellStory);
  if (mayBeParked && parked <= MOST_LOOKED_AT) return find();
  $("story-copies").replaceChildren(quiet(`${parked} parked: all are read to find a copy of this request.`),
    button("Look for a copy", (pressed) => acting(pressed, find)));
}

function shared(text, words, hint) {
  const code = make("code", {}, text);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      done("Copied.");
    } catch {
      getSelection().selectAllChildren(code);
      done("This browser does not let the page copy. It is selected: press Ctrl+C.");
    }
  };
  return make("p", {}, make("span", { className: "quiet" }, hint), " ", code, " ", button(words, copy, { className: "plain" }));
}

$("story-close").addEventListener("click", () => go({ requestId: "" }));
