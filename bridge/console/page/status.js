// Is it working? What needs a person stands at the top.

import { $, button, list, local, make, many, mark, tell } from "./elements.js";
import { isMadeToFail } from "./helpdesks.js";
import { doing } from "./looking.js";
import { lookAtParked } from "./parked.js";

// The server reads no more of a helpdesk's doubts.
const MOST_DOUBTS = 50;
// Whether what an alarm is about still holds. An alarm follows figures of the last minutes: it comes later than what the
// rest of the page shows, and stays longer. Where nobody knows, the answer is undefined.
const HOLDS = {
  paused: (now) => now.helpdesks?.some((desk) => desk.state === "paused"),
  "token-refused": (now) => ofCalled(now, (desk) => desk.needs_token || desk.refused_keys.length > 0),
  "helpdesk-down": (now) => ofCalled(now, (desk) => desk.state === "closed"),
  "dead-letters": (now) => now.queues.parked === undefined ? undefined : now.queues.parked > 0,
  "oldest-request": (now) => now.queues.waiting === undefined ? undefined : now.queues.waiting > 0,
  "in-doubt": (now) => now.helpdesks?.some((desk) => desk.doubts.length > 0),
};

// A pause hides what else holds of a helpdesk.
function ofCalled(now, holds) {
  return now.helpdesks?.some((desk) => desk.state === "paused") ? undefined : now.helpdesks?.some(holds);
}

function needsOf(now) {
  const needs = [];
  for (const desk of now.helpdesks ?? []) needs.push(...needsOfHelpdesk(now, desk));
  if (now.queues.parked) {
    needs.push({ key: "parked", alarm: "dead-letters", level: "wait", title: `${many(now.queues.parked, "request")} parked`,
      words: "Rejected, or given up. They wait for a person.", act: "Look at them", do: (button) => lookAtParked(button) });
  }
  for (const alarm of (now.alarms ?? []).filter((known) => known.is_raised)) addAlarm(now, needs, alarm);
  return needs;
}

function needsOfHelpdesk(now, desk) {
  const needs = [];
  if (desk.state === "paused") {
    needs.push({ key: `paused ${desk.name}`, alarm: "paused", level: "wait", title: `${desk.title} is paused`,
      words: local(desk.words), act: "Resume", do: (button) => doing(button, "resume", { helpdesk: desk.name }) });
  } else if (desk.state === "closed") {
    needs.push(closed(now, desk));
  } else if (desk.state === "trial" && now.queues.waiting) {
    needs.push({ key: `trial ${desk.name}`, mendsItself: true, level: "wait", waits: true, title: `${desk.title} answers again`, words: desk.words });
  }
  for (const operation of desk.refused_keys) {
    needs.push({ key: `key ${desk.name} ${operation}`, alarm: "token-refused", level: "bad", title: `${desk.title} refuses our key for ${operation}`,
      words: "Put a valid key into its secret. What needs this key waits; other operations go on." });
  }
  if (isMadeToFail(now, desk)) {
    needs.push({ key: `fault ${desk.name}`, mendsItself: true, level: "wait", title: `${desk.title} is made to fail`,
      words: "A fault is switched on below, among the simulated helpdesks. The next call meets it." });
  }
  return needs;
}

function closed(now, desk) {
  const need = { key: `closed ${desk.name}`, alarm: desk.needs_token ? "token-refused" : "helpdesk-down",
    level: "wait", mendsItself: true, waits: true, title: `${desk.title} is not called`, words: local(desk.words) };
  if (!desk.needs_token) return need;
  const simulator = now.simulators?.find((known) => known.name === desk.name);
  if (simulator?.takes_token) return { ...need, isEnding: true, words: `${need.words} Its simulator takes the token again, which the next probe will show.` };
  return { ...need, level: "bad", mendsItself: false, words: `${need.words} Put one into its secret: bridge doctor names the line.` };
}

// What is said of a helpdesk or of parked requests, and the alarm about it, are one thing for a person.
function addAlarm(now, needs, alarm) {
  const same = needs.find((need) => need.alarm === alarm.name);
  const words = `Alarm ${alarm.name}: ${alarm.description}`;
  if (same) {
    Object.assign(same, { alarmWords: words }, same.isEnding ? {} : { level: "bad" });
  } else if (HOLDS[alarm.name]?.(now) === false) {
    needs.push({ key: `over ${alarm.name}`, mendsItself: true, level: "wait", title: `Alarm ${alarm.name} has yet to clear`,
      words: "What it was raised for is over. It clears by itself." });
  } else {
    needs.push({ key: `alarm ${alarm.name}`, level: "bad", title: `Alarm ${alarm.name}`, words: alarm.description });
  }
}

function headline(now, needs, level) {
  const forPeople = needs.filter((need) => !need.mendsItself).length;
  const things = many(forPeople, "thing needs", "things need");
  if (now.problems.length) return "Not everything can be read";
  if (level === "bad" && forPeople) return `Not everything works: ${things} a person`;
  if (now.helpdesks.some((desk) => desk.state === "paused")) return `Paused: ${things} a person`;
  if (forPeople) return `It works; ${things} a person`;
  const held = needs.filter((need) => need.waits);
  if (held.length) return now.queues.waiting ? "Requests wait; nothing to do" : `${held[0].title}; nothing to do`;
  if (needs.some((need) => need.key.startsWith("fault "))) return "A simulated helpdesk is made to fail";
  return needs.length ? "It works again; an alarm has yet to clear" : "Everything works";
}

function calmWords(now) {
  const titles = now.helpdesks.map((desk) => desk.title), doubts = countDoubts(now);
  const looked = doubts ? ` ${many(doubts, "request is", "requests are")} in doubt, and looked up each minute.` : "";
  return `No alarm is raised, ${titles.join(" and ")} ${titles.length === 1 ? "works" : "work"}, nothing is parked.${looked}`;
}

function countDoubts(now) {
  return now.helpdesks?.reduce((sum, desk) => sum + desk.doubts.length, 0);
}

function figuresOf(now) {
  const doubts = countDoubts(now), isCut = now.helpdesks?.some((desk) => desk.doubts.length >= MOST_DOUBTS);
  const raised = now.alarms?.filter((alarm) => alarm.is_raised).length, all = now.alarms?.length;
  return [
    ["waiting", "in the queue", now.queues.waiting], ["doubts", "in doubt", isCut ? `${doubts}+` : doubts], ["parked", "parked", now.queues.parked],
    ["alarms", all === undefined ? "alarms raised" : `of ${many(all, "alarm")} raised`, raised],
  ];
}

export function showStatus(now) {
  const needs = needsOf(now);
  const level = now.problems.length || needs.some((need) => need.level === "bad") ? "bad" : needs.length ? "wait" : "good";
  mark($("status"), level);
  tell($("verdict"), headline(now, needs, level));
  tell($("why"), now.problems.length ? now.problems.join("\n") : needs.length ? "" : calmWords(now));
  $("needs").hidden = !needs.length;
  list($("needs"), needs, (need) => need.key, needRow);
  list($("figures"), figuresOf(now), ([key]) => key, figureRow);
}

function needRow(need) {
  const title = make("strong"), words = make("p"), alarm = make("p", { className: "quiet" });
  const element = make("li", {}, make("div", {}, title, words, alarm));
  if (need.act) element.append(button(need.act, need.do));
  return { element, update: (latest) => {
    mark(element, latest.level);
    tell(title, latest.title);
    tell(words, latest.words);
    tell(alarm, latest.alarmWords ?? "");
    alarm.hidden = !latest.alarmWords;
  } };
}

function figureRow() {
  const number = make("dd"), name = make("dt");
  return { element: make("div", {}, name, number), update: ([, words, count]) => { tell(name, words); tell(number, String(count ?? "–")); } };
}
