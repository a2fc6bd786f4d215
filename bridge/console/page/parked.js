// Parked requests: read, and sent again or dropped many at once. What is done about a single one is in its story.

import { ask } from "./asking.js";
import { $, acting, make, many, tell } from "./elements.js";
import { look } from "./looking.js";
import { storyLink } from "./requests.js";

const FIRST_DRY = "First a dry run: only what it has shown is sent again or dropped.";
const bad = (words) => make("p", { className: "answer", "data-level": "bad" }, words);

export async function lookAtParked(button) {
  await acting(button, async () => {
    try {
      showParked(await ask("parked", {}));
      if (button !== $("look")) $("parked").focus();
    } catch (failure) {
      $("parked-content").replaceChildren(bad(failure.message));
    }
  });
}

const copyLine = (copy) => make("li", {},
  make("span", { className: "id" }, [copy.operation, copy.request_id].filter(Boolean).join(" ")),
  ` · ${copy.code}${copy.source ? ` · from ${copy.source}` : ""} · ${many(Number(copy.attempts), "attempt")}${
    copy.count > 1 ? ` · ${copy.count} copies` : ""} · `, storyLink(copy.request_id),
  ...copy.why.map((words) => make("p", { className: "quiet" }, words)));

function codeGroup(code, copies) {
  const own = copies.filter((copy) => copy.code === code);
  const details = make("details", {}, make("summary", {}, `${own.length} × ${code}`), make("ul", { className: "rows" }, ...own.map(copyLine)));
  details.open = copies.length <= 10;
  return details;
}

const choice = (name, values) => make("select", { name }, new Option("any", ""), ...values.map((one) => new Option(one, one)));
const each = (copies, name) => [...new Set(copies.map((one) => one[name]))].filter(Boolean).sort();

function showParked({ copies, hidden }) {
  const notSeen = hidden ? [make("p", { className: "quiet" }, hidden)] : [];
  if (!copies.length) {
    $("parked-content").replaceChildren(make("p", {}, "Nothing is parked."), ...notSeen);
    return;
  }
  const code = choice("code", each(copies, "code")), source = choice("source", each(copies, "source"));
  const requestId = make("input", { name: "request_id", autocomplete: "off", spellcheck: false, placeholder: "any" });
  const why = make("input", { name: "why", autocomplete: "off", placeholder: "no words of customers", maxLength: 200 });
  const answer = make("div", { role: "status" });
  const warning = make("p", { className: "answer", "data-level": "bad", hidden: true });
  const hint = make("p", { className: "quiet", id: "why-disabled" }, FIRST_DRY);
  const dry = make("button", { type: "button" }, "Dry run");
  const again = make("button", { type: "button", className: "main", "aria-describedby": hint.id }, "Send again");
  const drop = make("button", { type: "button", "aria-describedby": hint.id }, "Drop");
  const wanted = () => ({ code: code.value || null, source: source.value || null, request_id: requestId.value.trim() || null });
  const offer = (sent, all, because) => {
    for (const [button, count, words, counted] of [[again, sent, "Send again", `Send ${sent} again`], [drop, all, "Drop", `Drop ${all}`]]) {
      button.disabled = !count;
      button.title = count ? "" : because;
      tell(button, count ? counted : words);
    }
    tell(hint, sent ? "" : because);
  };
  const choose = () => {
    offer(0, 0, FIRST_DRY);
    warning.hidden = true;
    answer.replaceChildren();
  };
  for (const control of [code, source, requestId]) control.addEventListener("input", choose);
  const act = (button, path, dryRun, done) => acting(button, async () => {
    try {
      const more = path === "drop" ? { why: why.value } : {};
      const told = await ask(path, { ...wanted(), ...more, dry_run: dryRun });
      answer.replaceChildren(make("p", { className: "answer" }, `${many(told.count, "request")} ${done(told.count)}. ${told.hidden}`),
        make("ul", { className: "rows" }, ...told.copies.map(copyLine)));
      return told;
    } catch (failure) {
      answer.replaceChildren(bad(failure.message));
      return null;
    }
  });
  const were = (verb) => (count) => `${count === 1 ? "was" : "were"} ${verb}`;
  dry.addEventListener("click", async () => {
    choose();
    const sent = await act(dry, "redrive", true, () => "would be sent again");
    if (!sent) return;
    const all = sent.count + sent.left_out;
    offer(sent.count, all, all ? "These may have made their tickets: choose the code, or one request, to send them again." : "The dry run has found nothing.");
    const words = [
      sent.left_out ? `${many(sent.left_out, "request")} would be left out: the ticket may exist. Choose the code, or one request.` : "",
      sent.copies.some((copy) => copy.may_have_happened) ? "The ticket of these may exist: look at the helpdesk before you send them again." : "",
      all > 1 ? `This is about ${all} requests at once. Dropped ones cannot be brought back.` : "",
    ];
    tell(warning, words.filter(Boolean).join(" "));
    warning.hidden = !warning.textContent;
  });
  for (const [button, path, verb] of [[again, "redrive", "sent again"], [drop, "drop", "dropped"]]) {
    button.addEventListener("click", async () => {
      if (path === "drop" && !why.value.trim()) {
        answer.replaceChildren(bad("Say why: it is remembered."));
        why.focus();
        return;
      }
      const told = await act(button, path, false, were(verb));
      const kept = [...answer.childNodes];
      choose();
      answer.replaceChildren(...kept);
      if (told) {
        copies = copies.filter((copy) => !told.copies.some((gone) => isSame(gone, copy)));
        showGroups(copies);
        dry.focus();
      }
      await look();
    });
  }
  const groups = make("div"), isSame = (copy, other) => copy.request_id === other.request_id && copy.code === other.code;
  const showGroups = (left) => groups.replaceChildren(...each(left, "code").map((one) => codeGroup(one, left)));
  showGroups(copies);
  const label = (words, control) => make("label", {}, words, control);
  $("parked-content").replaceChildren(groups, ...notSeen,
    make("h3", {}, "Many at once"),
    make("div", { className: "line" }, label("Code", code), label("Source", source), label("Request id", requestId), dry),
    warning,
    make("div", { className: "line" }, again, label("Why drop", why), drop), hint, answer);
  choose();
}

$("look").addEventListener("click", (event) => lookAtParked(event.currentTarget));
