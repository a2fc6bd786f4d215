// The console's page: asks for what holds now, shows it, and sends what a person does.
// Other people's words go into the page as text only (textContent), never as HTML.

const TOKEN = document.querySelector('meta[name="token"]').content;
const PATIENCE_MS = 13_000;
const SHOWN = 12;
const $ = (id) => document.getElementById(id);

// ── talking to the console's server ────────────────────────────────────────────────────────────────

class Failure extends Error {
  constructor(words, errors = []) {
    super(words);
    this.errors = errors;
  }
}

async function ask(path, content) {
  const how = { signal: AbortSignal.timeout(PATIENCE_MS), cache: "no-store" };
  if (content !== undefined) {
    how.method = "POST";
    how.headers = { "Content-Type": "application/json", "X-Console-Token": TOKEN };
    how.body = JSON.stringify(content);
  }
  let answer;
  try {
    answer = await fetch(`api/${path}`, how);
  } catch (error) {
    throw new Failure(error.name === "TimeoutError"
      ? "The stack has not answered in time."
      : "The console itself does not answer: it was stopped. Start it with bridge up or bridge console, and open the address that it prints.");
  }
  const told = await answer.json().catch(() => ({ error: `The console answered with ${answer.status}.` }));
  if (!answer.ok) throw new Failure(told.error, told.errors);
  return told;
}

// ── making and changing elements ───────────────────────────────────────────────────────────────────

function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "on") for (const [event, act] of Object.entries(value)) element.addEventListener(event, act);
    else if (key.includes("-")) element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children);
  return element;
}

function tell(element, words) {
  // What is not changed is not read out again, and keeps a person's selection.
  if (element.textContent !== words) element.textContent = words;
}

function mark(element, level) {
  if (element.dataset.level !== level) element.dataset.level = level;
}

// Keeps one element for each item, so that focus and what is unfolded outlive the next look.
function list(container, items, keyOf, create) {
  container.kept ??= new Map();
  const kept = new Map();
  let place = null;
  for (const item of items) {
    const key = keyOf(item);
    const row = container.kept.get(key) ?? create(item);
    row.update(item);
    kept.set(key, row);
  }
  for (const [key, row] of container.kept) if (!kept.has(key)) row.element.remove();
  for (const row of kept.values()) {
    const next = place ? place.nextSibling : container.firstChild;
    if (row.element !== next) container.insertBefore(row.element, next);
    place = row.element;
  }
  container.kept = kept;
}

const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour12: false });
// Moments in the server's sentences, as this browser shows times.
const local = (words) => words.replace(/\d{4}-\d\d-\d\dT[\d:]+Z/g, (at) => clock(Date.parse(at) / 1000));
const moment = (seconds) => make("time", { dateTime: new Date(seconds * 1000).toISOString() }, clock(seconds));
const many = (count, one, more = `${one}s`) => `${count} ${count === 1 ? one : more}`;

async function acting(button, act) {
  button.disabled = true;
  try {
    return await act();
  } finally {
    button.disabled = false;
    // A button that is disabled loses the focus.
    if (document.activeElement === document.body && button.isConnected) button.focus();
  }
}

function done(words, level = "") {
  mark($("done"), level);
  tell($("done"), words);
  clearTimeout(done.timer);
  if (level !== "bad") done.timer = setTimeout(() => tell($("done"), ""), 8000);
}

function doing(button, path, content) {
  return acting(button, async () => {
    try {
      done((await ask(path, content)).words);
    } catch (failure) {
      done(failure.message, "bad");
    }
    await look();
  });
}

// ── is it working? ─────────────────────────────────────────────────────────────────────────────────

function verdict(now) {
  const needs = now.alarms.filter((one) => one.is_raised)
    .map((one) => ({ key: `alarm ${one.name}`, level: "bad", title: `Alarm ${one.name}`, words: one.description }));
  for (const desk of now.helpdesks) {
    if (desk.state === "paused") {
      needs.push({ key: `paused ${desk.name}`, level: "wait", title: `${desk.title} is paused`,
        words: local(desk.words), act: "Resume", do: (button) => doing(button, "resume", { helpdesk: desk.name }) });
    } else if (desk.state === "closed") {
      needs.push({ key: `closed ${desk.name}`, mendsItself: !desk.needs_token, level: desk.needs_token ? "bad" : "wait", title: `Requests to ${desk.title} wait`,
        words: local(`${desk.words}${desk.needs_token ? " Put one into its secret: bridge doctor names the line." : ""}`) });
    }
    for (const operation of desk.refused_keys) {
      needs.push({ key: `key ${desk.name} ${operation}`, level: "bad", title: `${desk.title} refuses our key for ${operation}`,
        words: "Put a valid key into its secret. What needs this key waits; other operations go on." });
    }
  }
  if (now.queues.parked) {
    needs.push({ key: "parked", level: "wait", title: `${many(now.queues.parked, "request")} parked`,
      words: "Rejected, or given up. They wait for a person.", act: "Look at them", do: (button) => lookAtParked(button) });
  }
  return needs;
}

function showStatus(now) {
  const needs = verdict(now);
  const level = now.problems.length || needs.some((one) => one.level === "bad") ? "bad" : needs.length ? "wait" : "good";
  mark($("status"), level);
  const forPeople = needs.filter((one) => !one.mendsItself).length;
  const waiting = many(forPeople, "thing needs", "things need");
  const headline = now.problems.length ? "Not everything can be read" : level === "bad" ? `Not everything works: ${waiting} a person`
    : now.helpdesks.some((one) => one.state === "paused") ? `Paused: ${waiting} a person` : forPeople ? `It works; ${waiting} a person`
      : needs.length ? "Requests wait; nothing to do" : "Everything works";
  tell($("verdict"), headline);
  const calm = `No alarm is raised, ${now.helpdesks.map((one) => one.title).join(" and ")} ${now.helpdesks.length === 1 ? "works" : "work"}, nothing is parked.`;
  tell($("why"), now.problems.length ? now.problems.join("\n") : needs.length ? "" : calm);
  $("needs").hidden = !needs.length;
  list($("needs"), needs, (one) => one.key, (one) => {
    const title = make("strong"), words = make("p");
    const element = make("li", {}, make("div", {}, title, words));
    if (one.act) element.append(make("button", { type: "button", on: { click: (event) => one.do(event.currentTarget) } }, one.act));
    return { element, update: (item) => { mark(element, item.level); tell(title, item.title); tell(words, item.words); } };
  });
  const doubts = now.helpdesks.reduce((sum, desk) => sum + desk.doubts.length, 0);
  const figures = [
    ["in the queue", now.queues.waiting], ["in doubt", doubts], ["parked", now.queues.parked],
    [now.alarms.length === 1 ? "alarm raised of 1" : `alarms raised of ${now.alarms.length}`, now.alarms.filter((one) => one.is_raised).length],
  ];
  list($("figures"), figures, ([words]) => words, figureRow);
}

function figureRow() {
  const number = make("dd"), name = make("dt");
  return { element: make("div", {}, name, number), update: ([words, count]) => { tell(name, words); tell(number, String(count ?? "–")); } };
}

// ── helpdesks: gate and budget ─────────────────────────────────────────────────────────────────────

function showHelpdesks(desks) {
  list($("helpdesks"), desks, (one) => one.name, (desk) => {
    const title = make("h3", {}, desk.title), state = make("span", { className: "state" }), words = make("p");
    const budget = make("p", { className: "quiet" });
    const meter = make("meter", { min: 0, "aria-label": `${desk.title}: calls of the budget` });
    const button = make("button", { type: "button" });
    let path = "";
    button.addEventListener("click", () => doing(button, path, { helpdesk: desk.name }));
    const element = make("div", { className: "card", "data-helpdesk": desk.name },
      make("div", { className: "head" }, title, state), words, budget, meter, button);
    return { element, update: (now) => {
      tell(state, { open: "working", paused: "paused", closed: "waiting" }[now.state]);
      mark(state, { open: "good", paused: "wait", closed: "bad" }[now.state]);
      tell(words, local(now.words));
      words.hidden = !words.textContent;
      const { limit, used, period_s } = now.budget;
      tell(budget, limit ? `${used} of ${limit} calls in the last ${period_s} seconds` : "No budget is set.");
      meter.hidden = !limit;
      if (limit) Object.assign(meter, { max: limit, high: limit * 0.8, value: used });
      path = now.state === "open" ? "pause" : "resume";
      tell(button, `${now.state === "open" ? "Pause" : "Resume"} ${desk.title}`);
    } };
  });
  for (const choice of document.querySelectorAll(".helpdesk-choice")) {
    if (choice.options.length !== desks.length) choice.replaceChildren(...desks.map((one) => new Option(one.title, one.name)));
  }
}

// ── requests ───────────────────────────────────────────────────────────────────────────────────────

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

function showRequests(requests) {
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

// ── parked requests ────────────────────────────────────────────────────────────────────────────────

async function lookAtParked(button) {
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
  const again = make("button", { type: "button", className: "main", disabled: true }, "Send again");
  const drop = make("button", { type: "button", disabled: true }, "Drop");
  const wanted = () => ({ code: code.value || null, request_id: requestId.value.trim() || null });
  // Only what a dry run has shown can be sent again or dropped.
  const choose = () => {
    for (const [button, words] of [[again, "Send again"], [drop, "Drop"]]) { button.disabled = true; tell(button, words); }
    warning.hidden = true;
    answer.replaceChildren();
  };
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
      if (told) dry.focus();
      await look();
    });
  }
  const groups = codes.map((one) => {
    const own = copies.filter((copy) => copy.code === one);
    const details = make("details", {}, make("summary", {}, `${own.length} × ${one}`), make("ul", { className: "rows" }, ...own.map(copyLine)));
    details.open = copies.length <= 10;
    return details;
  });
  $("parked-content").replaceChildren(...groups,
    make("div", { className: "line" }, make("label", {}, "Reason", code), make("label", {}, "Request id", requestId), dry),
    warning,
    make("div", { className: "line" }, again, make("label", {}, "Why drop", why), drop), answer);
}

$("look").addEventListener("click", (event) => lookAtParked(event.currentTarget));

// ── trying ─────────────────────────────────────────────────────────────────────────────────────────

const tryForm = $("try");
let forms = [];

function chooseOperation() {
  const chosen = tryForm.operation.value;
  for (const name of ["add", "update", "get", "form"]) {
    for (const one of tryForm.querySelectorAll(`.for-${name}`)) one.hidden = name !== chosen;
  }
  for (const one of tryForm.querySelectorAll(".for-request")) one.hidden = chosen === "form";
}

function requestOf(fields) {
  const text = (name) => fields[name].value.trim() || undefined;
  const operation = fields.operation.value;
  const body = { operation, helpdesk: fields.helpdesk.value, request_id: text("request_id") };
  if (operation === "add") {
    body.ticket = { title: text("title") ?? "", details: text("details") };
    if (text("email")) body.ticket.requester = { email: text("email") };
  } else if (operation === "update") {
    body.ticket_id = text("ticket_id");
    body.changes = { sub_status: text("sub_status"), comment: text("comment") };
  } else {
    body.ticket_ids = text("ticket_ids") ?? [];
  }
  return body;
}

function showProblems(failure) {
  const unplaced = [];
  for (const { field, problem } of failure?.errors ?? []) {
    const label = tryForm.querySelector(`[data-field="${CSS.escape(field)}"]`);
    if (!label || label.hidden) { unplaced.push(`${field} ${problem}`); continue; }
    label.classList.add("wrong");
    const control = label.querySelector("input, textarea");
    control.setAttribute("aria-invalid", "true");
    label.append(make("span", { className: "problem" }, problem));
  }
  tryForm.querySelector(".wrong input, .wrong textarea")?.focus();
  return [failure.message, ...unplaced].join("; ");
}

function clearProblems() {
  for (const label of tryForm.querySelectorAll(".wrong")) {
    label.classList.remove("wrong");
    label.querySelector("input, textarea").removeAttribute("aria-invalid");
    label.querySelector(".problem").remove();
  }
}

tryForm.addEventListener("change", (event) => {
  if (event.target.name === "operation") {
    chooseOperation();
    clearProblems();
    tell($("try-answer"), "");
  }
  if (event.target.name === "form") fillSubmission();
});
tryForm.addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = $("try-answer"), button = tryForm.querySelector("button.main");
  clearProblems();
  if (!document.body.classList.contains("local") && !tryForm.real.checked) {
    mark(answer, "bad");
    tell(answer, "Say first that it may be real.");
    tryForm.real.focus();
    return;
  }
  await acting(button, async () => {
    try {
      const isForm = tryForm.operation.value === "form";
      const told = isForm ? await ask("submissions", { form: tryForm.form.value, body: tryForm.submission.value })
        : await ask("requests", requestOf(tryForm));
      mark(answer, "");
      tell(answer, told.words);
      if (isForm) await loadChoices();
    } catch (failure) {
      mark(answer, "bad");
      tell(answer, showProblems(failure));
    }
  });
  await look();
});

function fillSubmission() {
  tryForm.submission.value = forms.find((one) => one.form === tryForm.form.value)?.body ?? "";
}

async function loadChoices() {
  const choices = await ask("choices");
  const before = tryForm.form.value;
  forms = choices.forms;
  switches = choices.switches;
  tryForm.form.replaceChildren(...forms.map((one) => new Option(one.form, one.form)));
  if (before) tryForm.form.value = before;
  fillSubmission();
}

// ── simulators ─────────────────────────────────────────────────────────────────────────────────────

let switches = [];

function showSimulators(simulators) {
  list($("simulator-list"), simulators, (one) => one.name, (desk) => {
    const count = make("span", { className: "quiet" }), faults = make("ul"), none = make("p", { className: "quiet" }, "It works: no fault is switched on.");
    const body = make("tbody");
    const button = (what, words) => make("button", { type: "button", on: { click: (event) => doing(event.currentTarget, "simulate", { helpdesk: desk.name, what }) } }, words);
    const table = make("table", {}, make("thead", {}, make("tr", {}, ...["Ticket", "Title", "E-mail", "State", "Comments"].map((one) => make("th", { scope: "col" }, one)))), body);
    const revoke = button("revoke", "Refuse the token"), accept = button("accept", "Take the token again");
    const scroll = make("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": `Tickets of ${desk.title}` }, table);
    const element = make("div", { className: "card", "data-simulator": desk.name },
      make("div", { className: "head" }, make("h3", {}, desk.title), count), none, faults,
      make("div", { className: "switches", role: "group", "aria-label": `Faults of ${desk.title}` }, button("clear", "Work again"),
        ...switches.map((one) => button(one.name, one.label)), revoke, accept), scroll);
    return { element, update: (now) => {
      tell(count, `${many(now.count, "ticket")}${now.count > now.tickets.length ? `, the latest ${now.tickets.length} shown` : ""}`);
      const failing = now.faults.map((one) => `${one.label} (${many(one.hits, "call")} so far)`);
      if (!now.takes_token) failing.unshift("It refuses the token that is in the secret");
      none.hidden = failing.length > 0;
      faults.hidden = !failing.length;
      list(faults, failing.map((words, place) => ({ words, place })), (one) => one.place, () => {
        const item = make("li");
        return { element: item, update: (one) => tell(item, one.words) };
      });
      // The one that has just been pressed hands its focus on.
      const gives = now.takes_token ? accept : revoke, takes = now.takes_token ? revoke : accept;
      const held = document.activeElement === gives;
      gives.hidden = true;
      takes.hidden = false;
      if (held) takes.focus();
      scroll.hidden = !now.tickets.length;
      list(body, now.tickets, (one) => one.ticket_id, () => {
        const cells = [0, 1, 2, 3, 4].map(() => make("td"));
        return { element: make("tr", {}, ...cells), update: (one) =>
          [one.ticket_id, one.title, one.email, one.state, one.comments].forEach((words, place) => tell(cells[place], words)) };
      });
    } };
  });
}

function showAlarms(alarms) {
  list($("alarms"), alarms, (one) => one.name, () => {
    const state = make("span", { className: "state" }), name = make("strong"), words = make("p", { className: "quiet" });
    return { element: make("li", {}, make("div", { className: "row" }, state, make("div", {}, name, words))), update: (one) => {
      tell(state, one.is_raised ? "raised" : "quiet");
      mark(state, one.is_raised ? "bad" : "good");
      tell(name, one.name);
      tell(words, one.description);
    } };
  });
}

// ── looking, again and again ───────────────────────────────────────────────────────────────────────

let timer, looking = null, isReady = false;

async function lookOnce() {
  let pause = 2;
  try {
    const now = await ask("now");
    document.body.classList.toggle("local", now.is_local);
    document.body.classList.toggle("deployed", !now.is_local);
    for (const one of document.querySelectorAll(".only-local")) one.hidden = !now.is_local;
    for (const one of document.querySelectorAll(".only-deployed")) one.hidden = now.is_local;
    if (!isReady) { await loadChoices(); isReady = true; }
    tell($("where"), `${now.stack}, ${now.is_local ? "local stack" : `deployed in ${now.region}`} · seen at ${clock(now.at)}`);
    showHelpdesks(now.helpdesks);
    showStatus(now);
    showRequests(now.requests);
    showSimulators(now.simulators ?? []);
    showAlarms(now.alarms);
    document.title = `${$("verdict").textContent} – Ticket Bridge`;
    pause = now.every_s;
  } catch (failure) {
    if (!(failure instanceof Failure)) console.error(failure);
    mark($("status"), "bad");
    tell($("verdict"), "The stack cannot be reached");
    tell($("why"), `${failure.message}\nWhat is shown below is as it was last seen. This page tries again by itself.`);
    document.title = "Not reached – Ticket Bridge";
  }
  // A page that nobody looks at asks less often.
  timer = setTimeout(look, pause * (document.hidden ? 10 : 1) * 1000);
}

function look() {
  clearTimeout(timer);
  looking ??= lookOnce().finally(() => { looking = null; });
  return looking;
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
chooseOperation();
look();
