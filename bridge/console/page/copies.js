// What can be done about the parked copies of one request: correct, send again, drop.

import { go } from "./address.js";
import { ask } from "./asking.js";
import { correct } from "./correcting.js";
import { $, acting, bad, button, done, make, many, quiet, whyDrop } from "./elements.js";
import { look } from "./looking.js";

const box = $("story-copies");
let round = 0;

export const hasCopies = () => Boolean(box.querySelector(".card"));
// A person corrects one, or says why it is dropped.
export const isInUse = () => [...box.querySelectorAll("textarea, input")].some((field) => field.value);

export function closeCopies() {
  round += 1;
  box.replaceChildren();
}

// `told` are the lines of its story, which need not be said twice; `changed` is called after each act.
export async function showCopies(requestId, told, changed) {
  round += 1;
  const mine = round;
  try {
    const { copies, hidden } = await ask("parked", { request_id: requestId });
    if (mine !== round) return;
    const cards = copies.map((copy) => copyCard(copy, told, changed));
    box.replaceChildren(...(cards.length ? cards : [quiet("No copy of it is parked.")]), ...(hidden ? [quiet(hidden)] : []));
  } catch (failure) {
    if (mine === round) box.replaceChildren(bad(failure.message));
  }
}

function copyCard(copy, told, changed) {
  const meant = { request_id: copy.request_id, code: copy.code };
  const answer = make("div", { role: "status" }), editor = make("div"), why = whyDrop();
  const act = (pressed, path, content, verb) => acting(pressed, async () => {
    try {
      const { count, hidden } = await ask(path, { ...meant, ...content, dry_run: false });
      done(count ? `${copy.request_id} is ${verb}.` : `It is no longer parked. ${hidden}`);
      if (count) closeCopies();
      await Promise.all([changed(), look()]);
      $("story").focus();
    } catch (failure) {
      answer.replaceChildren(bad(failure.message));
    }
  });
  const drop = (pressed) => {
    if (why.value.trim()) return act(pressed, "drop", { why: why.value }, "dropped");
    answer.replaceChildren(bad("Say why: it is remembered."));
    why.focus();
  };
  const sent = (correction) => {
    done(correction.words);
    closeCopies();
    if (!correction.is_same) go({ requestId: correction.request_id });
    return Promise.all([changed(), look()]);
  };
  const edit = (pressed) => acting(pressed, () => {
    answer.replaceChildren();
    return correct(editor, meant, { why: copy.why, sent, cancelled: () => pressed.focus() });
  });
  const facts = [copy.source && `from ${copy.source}`, many(Number(copy.attempts), "attempt"), copy.count > 1 && many(copy.count, "copy", "copies")];
  const untold = copy.why.filter((line) => !told.some((words) => words.includes(line)));
  return make("div", { className: "card", "data-code": copy.code },
    make("p", {}, make("strong", {}, `Parked: ${copy.code}`), make("span", { className: "quiet" }, [" ", ...facts].filter(Boolean).join(" · "))),
    ...untold.map((line) => make("p", { className: "problem" }, line)),
    ...(copy.may_have_happened ? [bad(`${copy.code}: its ticket may exist. Look at the helpdesk first.`)] : []),
    make("div", { className: "line" }, button("Edit", edit), button("Send again", (pressed) => act(pressed, "redrive", {}, "sent again"))),
    editor,
    make("div", { className: "line" }, make("label", {}, "Why drop", why), button("Drop", drop)), answer);
}
