// A parked request as text, which a person corrects and sends. It is fetched when it is opened, and kept nowhere.

import { ask } from "./asking.js";
import { acting, button, make, mark, tell } from "./elements.js";

let count = 0;

// `why` is what was wrong when it was parked; `sent` gets what came of the correction.
export async function correct(box, meant, { why, sent, cancelled }) {
  const answer = make("p", { className: "answer", role: "status" });
  box.replaceChildren(answer);
  const say = (words) => { mark(answer, "bad"); tell(answer, words); };
  let draft;
  try {
    draft = await ask("draft", meant);
  } catch (failure) {
    say(failure.message);
    return;
  }
  count += 1;
  const problems = make("ul", { className: "problems", id: `problems-${count}` });
  const text = make("textarea", { className: "code", rows: 14, spellcheck: false, autocomplete: "off", value: draft.text, "aria-describedby": problems.id });
  const cancel = button("Cancel", () => { box.replaceChildren(); cancelled(); });
  const wrong = (lines) => {
    problems.replaceChildren(...lines);
    problems.hidden = !lines.length;
    text.setAttribute("aria-invalid", String(lines.length > 0));
  };
  const problemLine = ({ field, problem }) => make("li", {}, button(field, () => select(text, field), { className: "plain" }), ` ${problem}`);
  wrong(why.map((line) => make("li", {}, line)));
  const send = button("Check and send", () => acting(send, async () => {
    if (text.value === draft.text) return say("Nothing was changed, so nothing is sent.");
    try {
      await sent(await ask("correct", { ...meant, message_id: draft.message_id, text: text.value }));
    } catch (failure) {
      wrong(failure.errors.map(problemLine));
      say(failure.errors.length ? `Nothing is sent: ${failure.message}` : failure.message);
    }
  }), { className: "main" });
  text.addEventListener("input", () => tell(answer, ""));
  box.replaceChildren(make("div", { className: "beside" }, make("label", {}, "The request, as JSON", text), problems), answer,
    make("div", { className: "line" }, send, cancel));
  text.focus();
  text.setSelectionRange(0, 0);
}

// Where the field stands in the text, if it does.
function select(text, field) {
  const key = `"${field.split(".").findLast((part) => Number.isNaN(Number(part)))}"`;
  const at = text.value.indexOf(key);
  text.focus();
  if (at >= 0) text.setSelectionRange(at, at + key.length);
}
