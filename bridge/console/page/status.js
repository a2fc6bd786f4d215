// Is it working? What needs a person stands at the top.

import { $, list, local, make, many, mark, tell } from "./elements.js";
import { doing } from "./looking.js";
import { lookAtParked } from "./parked.js";

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

export function showStatus(now) {
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
