// The alarms.

import { $, list, make, mark, tell } from "./elements.js";

export function showAlarms(alarms) {
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
