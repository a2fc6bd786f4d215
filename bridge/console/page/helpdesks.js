// The helpdesks: their gates and budgets.

import { $, button, list, local, make, mark, tell } from "./elements.js";
import { doing } from "./looking.js";

// What is made to fail on purpose: its gate is open until a call has shown it.
export function isMadeToFail(now, desk) {
  const simulator = now.simulators?.find((known) => known.name === desk.name);
  return simulator !== undefined && (!simulator.takes_token || simulator.faults.length > 0);
}

function chip(now, desk) {
  if (desk.state === "paused") return ["paused", "wait"];
  if (desk.state === "closed") return ["not called", desk.needs_token ? "bad" : "wait"];
  if (desk.state === "trial") return ["answers again", "wait"];
  if (isMadeToFail(now, desk)) return ["made to fail", "wait"];
  return desk.refused_keys.length ? ["works in part", "bad"] : ["works", "good"];
}

export function showHelpdesks(now) {
  $("helpdesks-unread").hidden = now.helpdesks !== null;
  const desks = now.helpdesks ?? [];
  list($("helpdesks"), desks.map((desk) => ({ ...desk, chip: chip(now, desk) })), (desk) => desk.name, (desk) => {
    const title = make("h3", {}, desk.title), state = make("span", { className: "state" }), words = make("p");
    const budget = make("p", { className: "quiet" });
    const meter = make("meter", { min: 0, "aria-label": `${desk.title}: calls of the budget` });
    let path = "";
    const gate = button("", (pressed) => doing(pressed, path, { helpdesk: desk.name }));
    const element = make("div", { className: "card", "data-helpdesk": desk.name },
      make("div", { className: "head" }, title, state), words, budget, meter, gate);
    return { element, update: (latest) => {
      tell(state, latest.chip[0]);
      mark(state, latest.chip[1]);
      tell(words, local(latest.words));
      words.hidden = !words.textContent;
      const { limit, used, period_s } = latest.budget;
      tell(budget, limit ? `${used} of ${limit} calls in the last ${period_s} seconds` : "No budget is set.");
      meter.hidden = !limit;
      if (limit) Object.assign(meter, { max: limit, high: limit * 0.8, value: used });
      const isHeld = latest.state === "paused" || latest.state === "closed";
      path = isHeld ? "resume" : "pause";
      tell(gate, `${isHeld ? "Resume" : "Pause"} ${desk.title}`);
    } };
  });
  for (const choice of document.querySelectorAll(".helpdesk-choice")) {
    const any = [...choice.options].filter((option) => !option.value), isOther = choice.options.length - any.length !== desks.length;
    if (now.helpdesks && isOther) choice.replaceChildren(...any, ...desks.map((desk) => new Option(desk.title, desk.name)));
  }
}
