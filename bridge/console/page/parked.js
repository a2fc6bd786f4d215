// Parked requests: read, and sent again or dropped many at once. What is done about a single one is in its story.

import { ask } from "./asking.js";
import { $, acting, bad, button, make, many, quiet, tell, whyDrop } from "./elements.js";
import { look } from "./looking.js";
import { storyLink } from "./requests.js";

const MOST_SHOWN = 100;
const FIRST_DRY = "First a dry run: only what it has counted is sent again or dropped.";

export async function lookAtParked(pressed) {
  await acting(pressed, async () => {
    try {
      showParked(await ask("parked", {}));
      if (pressed !== $("look")) $("parked").focus();
    } catch (failure) {
      $("parked-content").replaceChildren(bad(failure.message));
    }
  });
}

const copyLine = (copy) => make("li", {},
  make("span", { className: "id" }, [copy.operation, copy.request_id].filter(Boolean).join(" ")),
  ` · ${copy.code}${copy.source ? ` · from ${copy.source}` : ""} · ${many(Number(copy.attempts), "attempt")}${
    copy.count > 1 ? ` · ${copy.count} copies` : ""} · `, storyLink(copy.request_id),
  ...copy.why.map(quiet));

const copyLines = (copies) => make("ul", { className: "rows" }, ...copies.slice(0, MOST_SHOWN).map(copyLine),
  ...(copies.length > MOST_SHOWN ? [make("li", {}, `… and ${copies.length - MOST_SHOWN} more`)] : []));

const each = (copies, name) => [...new Set(copies.map((copy) => copy[name]))].filter(Boolean).sort();

// How many are of which code, where there are several.
function codes(copies) {
  const lines = each(copies, "code").map((code) => `${copies.filter((copy) => copy.code === code).length} ${code}`);
  return lines.length > 1 ? `: ${lines.join(", ")}` : "";
}

function codeGroups(copies) {
  return each(copies, "code").map((code) => {
    const own = copies.filter((copy) => copy.code === code);
    return make("details", { open: copies.length <= 10 }, make("summary", {}, `${own.length} × ${code}`), copyLines(own));
  });
}

function showParked({ copies, hidden }) {
  const groups = make("div", {}, ...codeGroups(copies));
  const isSame = (copy, other) => copy.request_id === other.request_id && copy.code === other.code;
  const without = (gone) => {
    copies = copies.filter((copy) => !gone.some((other) => isSame(copy, other)));
    groups.replaceChildren(...codeGroups(copies));
  };
  const isShown = (other) => copies.some((copy) => isSame(copy, other));
  $("parked-content").replaceChildren(copies.length ? groups : make("p", {}, "Nothing is parked."),
    ...(hidden ? [quiet(hidden)] : []), ...(copies.length ? new ManyAtOnce(copies, without, isShown).elements : []));
}

const choice = (name, values) => make("select", { name }, new Option("any", ""), ...values.map((value) => new Option(value, value)));

// Acts on what a dry run has counted, and on nothing else; `without` gets the copies that are gone.
class ManyAtOnce {
  constructor(copies, without, isShown) {
    this.without = without;
    // Whether a copy stands above, and need not be listed again.
    this.isShown = isShown;
    this.code = choice("code", each(copies, "code"));
    this.source = choice("source", each(copies, "source"));
    this.requestId = make("input", { name: "request_id", autocomplete: "off", spellcheck: false, placeholder: "any" });
    this.why = whyDrop();
    this.answer = make("div", { role: "status" });
    this.warning = bad("");
    this.hint = make("p", { className: "quiet", id: "why-disabled" });
    this.dry = button("Dry run", () => this.dryRun());
    this.again = button("Send again", () => this.act(this.again, "redrive", "sent again"), { className: "main", "aria-describedby": this.hint.id });
    this.drop = button("Drop", () => this.act(this.drop, "drop", "dropped"), { "aria-describedby": this.hint.id });
    for (const control of [this.code, this.source, this.requestId]) control.addEventListener("input", () => this.forget());
    this.forget();
  }

  get elements() {
    const label = (words, control) => make("label", {}, words, control);
    return [make("h3", {}, "Many at once"),
      make("div", { className: "line" }, label("Code", this.code), label("Source", this.source), label("Request id", this.requestId), this.dry),
      this.warning,
      make("div", { className: "line" }, this.again, label("Why drop", this.why), this.drop), this.hint, this.answer];
  }

  forget(answers = []) {
    this.offer(0, 0, FIRST_DRY);
    tell(this.warning, "");
    this.answer.replaceChildren(...answers);
  }

  offer(sent, all, because) {
    for (const [control, count, words, counted] of [[this.again, sent, "Send again", `Send ${sent} again`], [this.drop, all, "Drop", `Drop ${all}`]]) {
      control.disabled = !count;
      control.title = count ? "" : because;
      tell(control, count ? counted : words);
    }
    tell(this.hint, sent ? "" : because);
  }

  async ask(pressed, path, content, done, isListed = () => true) {
    return acting(pressed, async () => {
      try {
        const { copies, count, counted, hidden, ...told } = await ask(path, content);
        this.answer.replaceChildren(make("p", { className: "answer" }, `${counted} ${done(count)}${codes(copies)}. ${hidden}`), copyLines(copies.filter(isListed)));
        return { copies, count, ...told };
      } catch (failure) {
        this.answer.replaceChildren(bad(failure.message));
        return null;
      }
    });
  }

  async dryRun() {
    this.forget();
    this.meant = { code: this.code.value || null, source: this.source.value || null, request_id: this.requestId.value.trim() || null };
    const told = await this.ask(this.dry, "redrive", { ...this.meant, dry_run: true }, () => "would be sent again", (copy) => !this.isShown(copy));
    if (!told) return;
    const all = told.all;
    this.meant.message_ids = told.message_ids;
    this.offer(told.count, all, all ? "These may have made their tickets: choose the code, or one request, to send them again." : "The dry run has found nothing.");
    tell(this.warning, [
      told.left_out && `${many(told.left_out, "request")} would be left out: the ticket may exist. Choose the code, or one request.`,
      told.copies.some((copy) => copy.may_have_happened) && "The ticket of these may exist: look at the helpdesk before you send them again.",
      all > 1 && `This is about ${all} requests at once. Dropped ones cannot be brought back.`,
    ].filter(Boolean).join(" "));
  }

  async act(pressed, path, verb) {
    const why = path === "drop" ? { why: this.why.value } : {};
    if (path === "drop" && !why.why.trim()) {
      this.answer.replaceChildren(bad("Say why: it is remembered."));
      this.why.focus();
      return;
    }
    const told = await this.ask(pressed, path, { ...this.meant, ...why, dry_run: false }, (count) => `${count === 1 ? "was" : "were"} ${verb}`);
    this.forget([...this.answer.childNodes]);
    if (told) {
      this.without(told.copies);
      this.dry.focus();
    }
    await look();
  }
}

$("look").addEventListener("click", (event) => lookAtParked(event.currentTarget));
