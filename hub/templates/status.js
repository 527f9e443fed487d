"use strict";
// The page's tables come from the hub as HTML; this draws the plots, writes the numbers of
// each second into the rows, and fetches the tables again when the workers have changed.
const SECONDS = 300;
const byId = (id) => document.getElementById(id);
let shown = "all";
let samples = new Map(); // second -> [second, count, failed, p50, p99, p999]
let active = new Set(); // rows that show a rate
let lastSecond = 0;

const number = (n) => n.toLocaleString("en-US", { maximumFractionDigits: 0 });
function micros(us) {
  if (us < 1000) return us + " µs";
  if (us < 1e6) return (us / 1000).toPrecision(3) + " ms";
  return (us / 1e6).toPrecision(3) + " s";
}
function age(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return s + " s";
  if (s < 3600) return Math.floor(s / 60) + " min";
  if (s < 86400) return Math.floor(s / 3600) + " h " + Math.floor((s % 3600) / 60) + " min";
  return Math.floor(s / 86400) + " d " + Math.floor((s % 86400) / 3600) + " h";
}
function setText(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

// --- plots
function svg(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const key in attributes) element.setAttribute(key, attributes[key]);
  return element;
}
function plot(id, series, scale, format, summary) {
  const target = byId(id);
  const width = target.clientWidth || 600, height = target.clientHeight || 176;
  const left = 52, bottom = 18, top = 8;
  target.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const x = (i) => left + (i / (SECONDS - 1)) * (width - left - 6);
  const y = (v) => height - bottom - scale.at(v) * (height - bottom - top);
  const parts = [];
  for (const tick of scale.ticks) {
    parts.push(svg("line", { class: "grid", x1: left, x2: width - 6, y1: y(tick), y2: y(tick) }));
    const text = svg("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" });
    text.textContent = format(tick);
    parts.push(text);
  }
  for (const [i, label] of [[0, "5 min ago"], [SECONDS - 1, "now"]]) {
    const text = svg("text", { x: x(i), y: height - 4, "text-anchor": i ? "end" : "start" });
    text.textContent = label;
    parts.push(text);
  }
  for (const { name, values, area } of series) {
    let path = "", run = "";
    const close = (i) => {
      if (area && run) parts.push(svg("path", { class: "a", d: `${run}V${y(0)}H${area.from}Z` }));
      run = "";
    };
    let before = null;
    values.forEach((value, i) => {
      if (value === null) { close(i); before = null; return; }
      const point = `${x(i).toFixed(1)},${y(value).toFixed(1)}`;
      if (before === null && area) area.from = x(i).toFixed(1);
      path += (before === null ? "M" : "L") + point;
      run += (before === null ? "M" : "L") + point;
      // One sample alone is a dot.
      if (before === null && (values[i + 1] ?? null) === null) path += "h1";
      before = value;
    });
    close(SECONDS);
    parts.push(svg("path", { class: name, d: path }));
  }
  target.replaceChildren(...parts);
  target.setAttribute("aria-label", summary);
}
function linear(most) {
  const step = 10 ** Math.floor(Math.log10(Math.max(most, 1)));
  const nice = [1, 2, 5, 10].map((n) => n * step).find((n) => n >= most) || 10;
  return { at: (v) => v / nice, ticks: [0, nice / 2, nice] };
}
function logarithmic(least, most) {
  const low = Math.floor(Math.log10(Math.max(least, 1))), high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(most, 10))));
  const ticks = [];
  for (let e = low; e <= high; e++) ticks.push(10 ** e);
  return { at: (v) => (Math.log10(Math.max(v, 1)) - low) / (high - low), ticks };
}
function draw() {
  const end = lastSecond || Math.floor(Date.now() / 1000);
  const at = (column, missing) => Array.from({ length: SECONDS }, (_, i) => {
    const sample = samples.get(end - SECONDS + 1 + i);
    return sample ? sample[column] : missing;
  });
  const rate = at(1, 0), failed = at(2, 0);
  const most = Math.max(...rate);
  const name = byId("shown").textContent;
  plot("chart-rate", [{ name: "rate", values: rate, area: {} }, { name: "failed", values: failed }], linear(most), number,
    `Requests per second of ${name}, last five minutes: now ${number(rate[SECONDS - 1])}, at most ${number(most)}`);
  const lines = [["p50", 3], ["p99", 4], ["p999", 5]].map(([name, column]) => ({ name, values: at(column, null) }));
  const all = lines.flatMap((line) => line.values.filter((v) => v !== null));
  const p99 = lines[1].values[SECONDS - 1];
  plot("chart-latency", lines, logarithmic(Math.min(...all, 1000), Math.max(...all, 100)), micros,
    `Latency of ${name}, last five minutes: p99 is ${p99 === null ? "unknown" : micros(p99)} now`);
}
async function show(id, name) {
  shown = id;
  setText(byId("shown"), name);
  byId("show-all").hidden = id === "all";
  for (const row of document.querySelectorAll("tr.shown")) row.classList.remove("shown");
  if (id !== "all") byId("r" + id)?.classList.add("shown");
  const response = await fetch("history?route=" + id);
  if (!response.ok || shown !== id) return;
  samples = new Map((await response.json()).map((sample) => [sample[0], sample]));
  draw();
}

// --- numbers of one second
function numbers(tick) {
  const sample = shown === "all" ? tick.all : tick.routes[shown];
  lastSecond = tick.second;
  if (sample) samples.set(sample[0], sample);
  samples.delete(lastSecond - SECONDS - 5);
  setText(byId("n-rate"), number(sample ? sample[1] : 0));
  setText(byId("n-failed"), number(sample ? sample[2] : 0));
  ["p50", "p99", "p999"].forEach((name, i) => setText(byId("n-" + name), sample ? micros(sample[3 + i]) : "–"));
  const waiting = tick.waiting ? `${number(tick.waiting)} (${age(tick.oldest_ms)})` : "0";
  setText(byId("n-waiting"), waiting);
  setText(byId("n-connections"), number(tick.connections));
  setText(byId("n-streams"), number(tick.event_streams));
  setText(byId("n-cpu"), tick.cpu_percent.toFixed(1) + " %");
  draw();
}
function routeRows(routes) {
  const now = new Set(Object.keys(routes));
  for (const id of active) if (!now.has(id)) setText(byId("r" + id)?.querySelector("[data-rate]"), "0");
  active = now;
  for (const id of now) {
    const row = byId("r" + id);
    if (!row) { refresh(); continue; }
    const [, count, failed, p50, p99, p999] = routes[id];
    row.dataset.count = Number(row.dataset.count) + count;
    row.dataset.failed = Number(row.dataset.failed) + failed;
    setText(row.querySelector("[data-rate]"), number(count));
    setText(row.querySelector("[data-p50]"), micros(p50));
    setText(row.querySelector("[data-p99]"), micros(p99));
    setText(row.querySelector("[data-p999]"), micros(p999));
    setText(row.querySelector("[data-total]"), number(Number(row.dataset.count)));
    setText(row.querySelector("[data-total-failed]"), number(Number(row.dataset.failed)));
  }
}
let waited = new Set(); // rows that show a queue
function queues(waiting) {
  const now = new Set(Object.keys(waiting));
  for (const id of [...waited, ...now]) setText(byId("r" + id)?.querySelector("[data-waiting]"), number(waiting[id] ?? 0));
  waited = now;
}
function faults(counts) {
  for (const name in counts) {
    const count = document.querySelector(`[data-fault="${name}"]`);
    setText(count, number(counts[name]));
    count?.parentElement.classList.add("some");
  }
}
let loaded = new Map();
function workerRows(workers) {
  const seen = new Map(workers.map((worker) => [worker[0], worker]));
  for (const id of loaded.keys()) if (!seen.has(id)) seen.set(id, [id, 0, 0, 0]);
  for (const [id, used, streams, quarantined] of seen.values()) {
    const row = byId("w" + id);
    if (!row) continue;
    const map = row.querySelector(".map");
    map.querySelector(".used").setAttribute("width", used);
    map.querySelector(".lost").setAttribute("width", quarantined);
    map.setAttribute("aria-label", `${used} slots in use${more(streams, quarantined)}`);
    setText(row.querySelector("[data-used]"), String(used));
    setText(row.querySelector("[data-more]"), more(streams, quarantined));
  }
  loaded = new Map(workers.map((worker) => [worker[0], worker]));
}
function more(streams, quarantined) {
  return (streams ? `, ${streams} streaming` : "") + (quarantined ? `, ${quarantined} quarantined` : "");
}

// --- tables
function times() {
  for (const cell of document.querySelectorAll("[data-since]")) setText(cell, age(Date.now() - Number(cell.dataset.since)));
  for (const time of document.querySelectorAll("time[data-at]")) {
    const at = new Date(Number(time.dataset.at));
    time.dateTime = at.toISOString();
    setText(time, at.toISOString().slice(11, 19));
  }
}
function filter(input) {
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const row of byId(input.dataset.filter)?.rows ?? []) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
  }
}
let refreshing = false, refreshAgain = false;
async function refresh() {
  if (refreshing) { refreshAgain = true; return; }
  refreshing = true;
  try {
    const response = await fetch("tables");
    if (response.ok) put(await response.text());
  } catch { /* The feed says that the hub is gone. */ }
  await new Promise((done) => setTimeout(done, 300));
  refreshing = false;
  if (refreshAgain) { refreshAgain = false; refresh(); }
}
function put(html) {
  const focused = document.activeElement;
  const filters = new Map([...document.querySelectorAll("[data-filter]")].map((input) => [input.dataset.filter, input.value]));
  const scrolls = [...document.querySelectorAll("#tables .scroll, #tables .log")].map((box) => box.scrollTop);
  const isOpen = document.querySelector("details")?.open;
  const kept = new Map([...active].map((id) => [id, byId("r" + id)]));
  byId("tables").innerHTML = html;
  for (const cell of document.querySelectorAll("[data-waiting]")) if (cell.textContent !== "0") waited.add(cell.parentElement.id.slice(1));
  for (const [id, old] of kept) {
    const row = byId("r" + id);
    if (!row || !old) continue;
    for (const name of ["rate", "p50", "p99", "p999"]) row.querySelector(`[data-${name}]`).textContent = old.querySelector(`[data-${name}]`).textContent;
  }
  for (const input of document.querySelectorAll("[data-filter]")) {
    input.value = filters.get(input.dataset.filter) ?? "";
    if (input.value) filter(input);
    if (focused?.dataset?.filter === input.dataset.filter) input.focus();
  }
  if (focused?.dataset?.show) document.querySelector(`[data-show="${focused.dataset.show}"]`)?.focus();
  document.querySelectorAll("#tables .scroll, #tables .log").forEach((box, i) => { box.scrollTop = scrolls[i] ?? 0; });
  if (isOpen) document.querySelector("details").open = true;
  if (shown !== "all") byId("r" + shown)?.classList.add("shown");
  const facts = byId("facts").dataset;
  const state = byId("state");
  setText(state, facts.state);
  state.className = "pill " + facts.stateClass;
  times();
}
document.addEventListener("input", (event) => { if (event.target.dataset.filter) filter(event.target); });
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-show]");
  if (button) show(button.dataset.show, button.closest("tr").cells[0].textContent + " " + button.textContent);
});
byId("show-all").addEventListener("click", () => show("all", "all routes"));
addEventListener("resize", draw);

// --- the feed
function connection(text, kind) {
  const element = byId("connection");
  setText(element, text);
  element.className = "pill " + kind;
}
const feed = new EventSource("feed");
feed.onopen = () => { connection("live", "good"); refresh(); show(shown, byId("shown").textContent); };
feed.onerror = () => connection("connection lost; trying again …", "bad");
feed.addEventListener("changed", refresh);
feed.addEventListener("tick", (event) => {
  const tick = JSON.parse(event.data);
  numbers(tick);
  routeRows(tick.routes);
  queues(tick.queues);
  faults(tick.faults);
  workerRows(tick.workers);
  times();
});
times();
draw();
