// The alarms: the raised ones with their words, the others folded.

import { $, list, make, many, mark, tell } from "./elements.js";

function alarmRow() {
  const state = make("span", { className: "state" }), name = make("strong"), words = make("p", { className: "quiet" });
  return { element: make("li", {}, make("div", { className: "row" }, state, make("div", {}, name, words))), update: (alarm) => {
    tell(state, alarm.is_raised ? "raised" : alarm.has_figures ? "quiet" : "no figures");
    mark(state, alarm.is_raised ? "bad" : alarm.has_figures ? "good" : "");
    tell(name, alarm.name);
    tell(words, alarm.description);
  } };
}

export function showAlarms(alarms) {
  const raised = alarms?.filter((alarm) => alarm.is_raised) ?? [], calm = alarms?.filter((alarm) => !alarm.is_raised) ?? [];
  tell($("alarms-words"), alarms ? raised.length ? "" : "No alarm is raised." : "The alarms could not be read.");
  list($("alarms"), raised, (alarm) => alarm.name, alarmRow);
  list($("calm-alarm-list"), calm, (alarm) => alarm.name, alarmRow);
  $("calm-alarms").hidden = !calm.length;
  const unjudged = calm.filter((alarm) => !alarm.has_figures).length, quiet = calm.length - unjudged;
  tell($("calm-alarms").querySelector("summary"), [
    quiet ? `${many(quiet, "alarm")} ${quiet === 1 ? "is" : "are"} quiet` : "",
    unjudged ? `${many(unjudged, "alarm")} ${unjudged === 1 ? "has" : "have"} no figures yet` : "",
  ].filter(Boolean).join(", "));
}
