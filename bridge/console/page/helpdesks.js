// The helpdesks: their gates and budgets.

import { $, list, local, make, mark, tell } from "./elements.js";
import { doing } from "./looking.js";

export function showHelpdesks(desks) {
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
