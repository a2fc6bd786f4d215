// The last hour as plots: what they show, when they are asked for, and the same figures as tables.

import { ask } from "./asking.js";
import { $, list, make, tell } from "./elements.js";
import { drawn, sample } from "./drawing.js";

const fold = $("plots-fold");
const OUTCOMES = [["succeeded", "succeeded", "good"], ["rejected", "rejected", "bad"], ["parked", "parked", "bad"], ["unknown", "in doubt", "wait"]];
let timer, asking = null, shown = null;

const minuteOf = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const number = (value) => value.toLocaleString([], { maximumFractionDigits: 0 });
const seconds = (ms) => `${(ms / 1000).toLocaleString([], { maximumFractionDigits: ms < 10_000 ? 1 : 0 })} s`;
const duration = (ms) => ms < 1000 ? `${number(ms)} ms` : seconds(ms);
const isKnown = (value) => value !== null;
const sum = (values) => values.reduce((total, value) => total + value, 0);

// ── what the plots show ─────────────────────────────────────────────────────────────────────────────────

function latest(values) {
  const place = values.findLastIndex(isKnown);
  return { place, value: values[place] };
}

function highest(values) {
  const value = Math.max(...values.filter(isKnown));
  return { value, place: values.indexOf(value) };
}

function outcomesOf(series, at) {
  const lines = OUTCOMES.map(([key, name, level]) => ({ name, level, values: series.outcomes[key], total: sum(series.outcomes[key]) }));
  const most = highest(series.outcomes.succeeded.map((_, place) => sum(lines.map((line) => line.values[place]))));
  return { key: "outcomes", kind: "lanes", title: "Requests by outcome", unit: "requests in each minute", format: number, lines,
    empty: sum(lines.map((line) => line.total)) ? "" : "No request has ended in the last hour.",
    gist: `Requests by outcome in the last hour: ${lines.map((line) => `${number(line.total)} ${line.name}`).join(", ")}. `
      + `The most in a minute: ${number(most.value)}, at ${at(most.place)}.` };
}

function latencyOf({ title, p50, p99 }, at) {
  const lines = [{ name: "p50", values: p50 }, { name: "p99", values: p99 }];
  const isEmpty = !p99.some(isKnown), slowest = highest(p99), last = latest(p50);
  return { key: `latency ${title}`, kind: "lines", title: `${title} latency`, unit: "of a request, by minute", format: duration, lines,
    isTime: true, empty: isEmpty ? `No request was tried at ${title} in the last hour.` : "",
    gist: isEmpty ? "" : `Latency of a request at ${title} in the last hour: the median (p50) was ${duration(last.value)} at ${at(last.place)}. `
      + `In the slowest minute, ${at(slowest.place)}, 99 % of requests took no longer than ${duration(slowest.value)} (p99).` };
}

function queueOf(series, at) {
  const lines = [{ name: "waiting", values: series.waiting }, { name: "in doubt", values: series.doubts }];
  const words = lines.filter((line) => line.values.some(isKnown)).map(({ name, values }) => {
    const last = latest(values), most = highest(values);
    return `${number(last.value)} ${name} at ${at(last.place)}, at most ${number(most.value)}${most.value ? `, at ${at(most.place)}` : ""}`;
  });
  return { key: "queue", kind: "lines", title: "Waiting and in doubt", unit: "requests, at most in each minute", format: number, lines,
    empty: words.length ? "" : "There are no figures of the last hour.",
    gist: `Requests in the last hour: ${words.join("; ")}.` };
}

function plotsOf(series) {
  const at = (place) => minuteOf(series.from + place * series.step_s);
  const plots = [outcomesOf(series, at), queueOf(series, at), ...series.latencies.map((latency) => latencyOf(latency, at))];
  return plots.map((plot) => ({ ...plot, at, atMoment: minuteOf, from: series.from, step: series.step_s }));
}

// ── how they stand on the page ──────────────────────────────────────────────────────────────────────────

function keyOf(plot) {
  return plot.kind === "lanes" ? [] : plot.lines.filter((line) => line.values.some(isKnown)).map((line) => {
    const last = latest(line.values);
    return make("li", {}, sample(plot.lines.indexOf(line)), `${line.name}: ${plot.format(last.value)} at ${plot.at(last.place)}`);
  });
}

function tableOf(plot) {
  const places = plot.lines[0].values.map((_, place) => place).reverse();
  // A minute in which nothing ended is left out, like one without a figure.
  const told = places.filter((place) => plot.lines.some(({ values }) => plot.kind === "lanes" ? values[place] : isKnown(values[place])));
  const head = make("tr", {}, ...["Minute", ...plot.lines.map((line) => line.name)].map((words) => make("th", { scope: "col" }, words)));
  const rows = told.map((place) => make("tr", {}, make("th", { scope: "row" }, plot.at(place)),
    ...plot.lines.map(({ values }) => make("td", {}, isKnown(values[place]) ? plot.format(values[place]) : "–"))));
  return make("table", { className: "numbers" }, make("thead", {}, head), make("tbody", {}, ...rows));
}

function figure(first) {
  const title = make("h3", {}, first.title), unit = make("span", { className: "quiet" });
  const key = make("ul", { className: "key" }), picture = make("div", { className: "picture" }), empty = make("p", { className: "quiet empty" });
  const scroll = make("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": `${first.title}: figures` });
  const table = make("details", {}, make("summary", {}, "The same as a table"), scroll);
  const element = make("figure", { className: "plot", "data-plot": first.key }, make("figcaption", {}, title, unit), key, picture, empty, table);
  let now = first;
  const fillTable = () => { if (table.open) scroll.replaceChildren(tableOf(now)); };
  const fillPicture = () => { if (picture.clientWidth && !now.empty) picture.replaceChildren(drawn(now, picture.clientWidth)); };
  table.addEventListener("toggle", fillTable);
  // Its width is known once it stands on the page, and changes with the window.
  new ResizeObserver(fillPicture).observe(picture);
  return { element, update: (plot) => {
    now = plot;
    tell(unit, plot.unit);
    tell(empty, plot.empty);
    for (const part of [key, picture, table, unit]) part.hidden = Boolean(plot.empty);
    empty.hidden = !plot.empty;
    if (plot.empty) return;
    key.replaceChildren(...keyOf(plot));
    fillPicture();
    fillTable();
  } };
}

function show() {
  list($("plot-list"), plotsOf(shown), (plot) => plot.key, figure);
}

// ── when they are asked for ─────────────────────────────────────────────────────────────────────────────

async function askOnce() {
  let pause = 60;
  try {
    shown = await ask("series");
    pause = shown.every_s;
    tell($("plots-words"), "");
    show();
  } catch (failure) {
    tell($("plots-words"), `The figures cannot be read. ${failure.message}${shown ? " What is shown is as it was last seen." : ""}`);
  }
  timer = setTimeout(lookAtPlots, pause * 1000);
}

// Asking costs a little on a deployed stack: only while somebody can see it.
function lookAtPlots() {
  clearTimeout(timer);
  if (!fold.open || document.hidden) return;
  asking ??= askOnce().finally(() => { asking = null; });
}

export function startPlots() {
  fold.addEventListener("toggle", lookAtPlots);
  document.addEventListener("visibilitychange", lookAtPlots);
  // Where the plots stand below each other, the requests would be far away.
  fold.open = matchMedia("(min-width: 60rem)").matches;
}
