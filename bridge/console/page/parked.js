// Parked requests: read, sent again, dropped.

import { ask } from "./asking.js";
import { $, acting, make, many, tell } from "./elements.js";
import { look } from "./looking.js";

export async function lookAtParked(button) {
  await acting(button, async () => {
    try {
      showParked((await ask("parked", {})).copies);
      if (button !== $("look")) $("parked").focus();
    } catch (failure) {
      $("parked-content").replaceChildren(make("p", { className: "answer", "data-level": "bad" }, failure.message));
    }
  });
}

const copyLine = (copy) => make("li", {},
  make("span", { className: "id" }, [copy.operation, copy.request_id || "(no request id)"].filter(Boolean).join(" ")),
  ` · ${copy.code}${copy.source ? ` · from ${copy.source}` : ""} · ${many(Number(copy.attempts), "attempt")}`,
  ...copy.why.map((words) => make("p", { className: "quiet" }, words)));

function showParked(copies) {
  if (!copies.length) {
    $("parked-content").replaceChildren(make("p", {}, "Nothing is parked."));
    return;
  }
  const codes = [...new Set(copies.map((one) => one.code))].sort();
  const code = make("select", { name: "code" }, new Option("any", ""), ...codes.map((one) => new Option(one, one)));
  const requestId = make("input", { name: "request_id", autocomplete: "off", spellcheck: false, placeholder: "any" });
  const why = make("input", { name: "why", autocomplete: "off", placeholder: "no words of customers", maxLength: 200 });
  const answer = make("div", { role: "status" });
  const warning = make("p", { className: "answer", "data-level": "bad", hidden: true });
  const dry = make("button", { type: "button" }, "Dry run");
  const whyNot = make("p", { id: "why-not", className: "quiet" });
  const again = make("button", { type: "button", className: "main", "aria-describedby": "why-not" }, "Send again");
  const drop = make("button", { type: "button", "aria-describedby": "why-not" }, "Drop");
  const wanted = () => ({ code: code.value || null, request_id: requestId.value.trim() || null });
  // Only what a dry run has shown can be sent again or dropped.
  const choose = () => {
    for (const [button, words] of [[again, "Send again"], [drop, "Drop"]]) { button.disabled = true; tell(button, words); }
    tell(whyNot, "First do a dry run: only what it has shown can be sent again or dropped.");
    warning.hidden = true;
    answer.replaceChildren();
  };
  choose();
  code.addEventListener("change", choose);
  requestId.addEventListener("input", choose);
  const act = (button, path, dryRun, done) => acting(button, async () => {
    try {
      const more = path === "drop" ? { why: why.value } : {};
      const told = await ask(path, { ...wanted(), ...more, dry_run: dryRun });
      answer.replaceChildren(make("p", { className: "answer" }, `${many(told.count, "request")} ${done(told.count)}.`),
        make("ul", { className: "rows" }, ...told.copies.map(copyLine)));
      return told;
    } catch (failure) {
      answer.replaceChildren(make("p", { className: "answer", "data-level": "bad" }, failure.message));
      return null;
    }
  });
  const were = (verb) => (count) => `${count === 1 ? "was" : "were"} ${verb}`;
  const risky = (copy) => ["outcome_unknown", "crashed"].includes(copy.code);
  dry.addEventListener("click", async () => {
    choose();
    const sent = await act(dry, "redrive", true, () => "would be sent again");
    if (!sent) return;
    again.disabled = !sent.count;
    if (sent.count) tell(again, `Send ${sent.count} again`);
    const all = sent.count + sent.left_out;
    drop.disabled = !all;
    if (all) tell(drop, `Drop ${all}`);
    tell(whyNot, all ? "" : "The dry run has found nothing to send again or to drop.");
    const words = [
      sent.left_out ? `${many(sent.left_out, "request")} would be left out: the ticket may exist. Choose the reason, or one request.` : "",
      sent.copies.some(risky) ? "The ticket of these may exist: look at the helpdesk before you send them again." : "",
      all > 1 ? `This is about ${all} requests at once. Dropped ones cannot be brought back.` : "",
    ];
    tell(warning, words.filter(Boolean).join(" "));
    warning.hidden = !warning.textContent;
  });
  for (const [button, path, verb] of [[again, "redrive", "sent again"], [drop, "drop", "dropped"]]) {
    button.addEventListener("click", async () => {
      if (path === "drop" && !why.value.trim()) {
        answer.replaceChildren(make("p", { className: "answer", "data-level": "bad" }, "Say why: it is remembered."));
        why.focus();
        return;
      }
      const told = await act(button, path, false, were(verb));
      const kept = [...answer.childNodes];
      choose();
      answer.replaceChildren(...kept);
      if (told) {
        showGroups(copies = copies.filter((copy) => !told.copies.some((gone) => isSame(gone, copy))));
        dry.focus();
      }
      await look();
    });
  }
  const groups = make("div");
  const isSame = (copy, other) => copy.request_id === other.request_id && copy.code === other.code;
  const showGroups = (left) => groups.replaceChildren(...codes.filter((known) => left.some((copy) => copy.code === known)).map((known) => {
    const own = left.filter((copy) => copy.code === known);
    const details = make("details", {}, make("summary", {}, `${own.length} × ${known}`), make("ul", { className: "rows" }, ...own.map(copyLine)));
    details.open = left.length <= 10;
    return details;
  }));
  showGroups(copies);
  $("parked-content").replaceChildren(groups,
    make("div", { className: "line" }, make("label", {}, "Reason", code), make("label", {}, "Request id", requestId), dry),
    warning,
    make("div", { className: "line" }, again, make("label", {}, "Why drop", why), drop), whyNot, answer);
}

$("look").addEventListener("click", (event) => lookAtParked(event.currentTarget));
