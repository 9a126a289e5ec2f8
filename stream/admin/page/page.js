// The live page: asks /status every second, keeps five minutes of samples, draws them.

import { Chart, short } from "./charts.js";

const EVERY_MS = 1000, KEPT = 300, PATIENCE_MS = 4000;
const $ = (id) => document.getElementById(id);
const text = (id, value) => { $(id).textContent = value; };

const charts = [
  new Chart($("chart-rate"), [
    { name: "predicted", label: "predicted", look: "predicted" },
    { name: "rejected", label: "rejected", look: "rejected" },
    { name: "failed", label: "failed", look: "failed" },
  ], { stacked: true, least: 10 }),
  new Chart($("chart-latency"), [
    { name: "latency_p50", label: "p50", look: "one" },
    { name: "latency_p95", label: "p95", look: "two" },
    { name: "latency_p99", label: "p99", look: "three" },
  ], { least: 5 }),
  new Chart($("chart-batch"), [
    { name: "batch_mean", label: "mean", look: "one" },
    { name: "batch_max", label: "largest", look: "two" },
  ], { least: 4 }),
  new Chart($("chart-lag"), [{ name: "lag", label: "lag", look: "one" }], { soft: true, least: 10 }),
];

let history = { at: [] }, worker = null, span = 120, lastAnswer = null, token = sessionStorage.getItem("token");

function remember(columns) {
  for (const [name, values] of Object.entries(columns)) history[name] = [...(history[name] || []), ...values].slice(-KEPT);
}

async function ask(path, options = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const stop = AbortSignal.timeout(PATIENCE_MS);
  return fetch(path, { ...options, headers, signal: stop, cache: "no-store" });
}

async function look() {
  const since = history.at.length ? history.at[history.at.length - 1] : 0;
  let answer;
  try {
    answer = await ask(`status?history=${since}`);
  } catch {
    return lost("no answer");
  }
  if (answer.status === 401) return askToken();
  if (!answer.ok) return lost(`status ${answer.status}`);
  const status = await answer.json();
  if (worker !== status.worker) { // another one has come in its place: its seconds are not this one's
    const stale = worker !== null;
    worker = status.worker;
    history = { at: [] };
    if (stale) return look();
  }
  remember(status.history);
  $("ask-token").hidden = true;
  $("board").hidden = false;
  lastAnswer = Date.now();
  document.body.classList.remove("stale");
  show(status);
}

function lost(why) {
  document.body.classList.add("stale");
  pill("bad", "no answer");
  const since = lastAnswer ? ` since ${new Date(lastAnswer).toLocaleTimeString("en-GB")}` : "";
  banner(`The worker does not answer${since} (${why}). What is shown is the last that it said.`, true);
}

function askToken() {
  if ($("ask-token").hidden) {
    $("ask-token").hidden = false;
    $("board").hidden = true;
    pill("warn", "token needed");
    $("token").focus();
  }
  text("token-said", token ? "That is not its token." : "");
}

function pill(look, words) {
  $("health").className = `pill ${look}`;
  text("health", words);
}

function banner(words, bad = false) {
  $("banner").hidden = !words;
  $("banner").className = bad ? "banner bad" : "banner";
  text("banner", words || "");
}

function show(status) {
  const { now, health, in_flight: flight, totals } = status;
  document.title = `${status.model.name} v${status.model.version} · Forebay`;
  text("model", `${status.model.name} v${status.model.version}`);
  text("worker", status.worker);
  showHealth(status);
  value("rate", short(now.events_per_s));
  text("rate-note", now.events_per_s ? `over ${now.span_s} s` : "nothing comes in");
  value("p50", short(now.latency_p50_ms), now.latency_p50_ms === null ? "" : "ms");
  text("p99", now.latency_p99_ms === null ? "" : `p95 ${short(now.latency_p95_ms)} · p99 ${short(now.latency_p99_ms)} ms`);
  value("lag", short(status.lag));
  text("lag-note", `${status.partitions.length} partition${status.partitions.length === 1 ? "" : "s"}`);
  value("flight", short(flight.events));
  $("flight-bar").style.width = `${Math.min(100, (100 * flight.events) / flight.max_events)}%`;
  value("batch", short(now.batch_mean));
  text("batch-note", now.batch_max === null ? `at most ${short(status.window.max_batch_size)}`
    : `largest ${short(now.batch_max)} of ${short(status.window.max_batch_size)}`);
  showBreakers(status.breakers);
  showOutcomes(totals.outcomes);
  showErrors(status.errors);
  showPartitions(status.partitions);
  showFacts(status);
  showWarnings(status.last_warnings);
  const end = history.at.length ? history.at[history.at.length - 1] : status.at / 1000;
  for (const chart of charts) chart.show(history.at, history, span, end);
  text("asof", `as of ${new Date(status.at).toLocaleTimeString("en-GB")}`);
  $("hold").hidden = false;
  text("hold", health.paused ? "Resume" : "Pause");
  $("hold").dataset.to = health.paused ? "resume" : "pause";
}

function showHealth({ health, in_flight: flight, breakers }) {
  const open = Object.entries(breakers).filter(([, breaker]) => breaker.state !== "closed").map(([name]) => name);
  const remarks = [...health.reasons];
  if (open.length) remarks.push(`the circuit breaker of the ${open.join(" and the ")} is open: reading waits, nothing is lost`);
  if (health.cluster === "failing") remarks.push("the cluster does not answer, or refuses commits");
  if (health.paused) remarks.push("reading is paused by hand");
  if (!health.live) pill("bad", "stuck");
  else if (!health.started) pill("warn", "warming up");
  else if (!health.ready) pill("warn", "not ready");
  else if (health.paused) pill("warn", "paused");
  else if (open.length || health.cluster === "failing") pill("warn", "degraded");
  else pill("good", "ready");
  banner(remarks.join(" · "), !health.live);
}

function value(id, number, unit = "") {
  const element = $(id);
  element.textContent = number;
  if (unit) {
    const small = document.createElement("span");
    small.className = "unit";
    small.textContent = ` ${unit}`;
    element.append(small);
  }
}

function showBreakers(breakers) {
  const states = Object.entries(breakers);
  const open = states.filter(([, breaker]) => breaker.state !== "closed");
  text("breakers", open.length ? open.map(([name, { state }]) => `${name} ${state.replace("_", " ")}`).join(", ") : "closed");
  $("breakers").classList.toggle("bad", open.length > 0);
  text("breakers-note", open.length ? `tries again in ${open[0][1].tries_again_in_s} s` : states.map(([name]) => name).join(" and "));
}

function showOutcomes(outcomes) {
  const order = ["predicted", "rejected", "failed"];
  const known = order.filter((name) => name in outcomes || name !== "failed");
  const others = Object.keys(outcomes).filter((name) => !order.includes(name));
  const all = [...known, ...others].map((name) => [name, outcomes[name] || 0]);
  const total = all.reduce((sum, [, count]) => sum + count, 0);
  text("outcomes-total", `${total.toLocaleString("en")} events`);
  const bars = all.filter(([, count]) => count > 0).map(([name, count]) => {
    const bar = document.createElement("span");
    bar.className = order.includes(name) ? name : "two";
    bar.style.flexGrow = count;
    return bar;
  });
  $("outcomes-bar").replaceChildren(...bars);
  $("outcomes-bar").setAttribute("aria-label", all.map(([name, count]) => `${name} ${count}`).join(", "));
  $("outcomes").replaceChildren(...all.map(([name, count]) => {
    const item = document.createElement("li");
    item.className = order.includes(name) ? name : "two";
    const share = total ? (100 * count) / total : 0;
    item.textContent = `${name} ${count.toLocaleString("en")} (${share.toFixed(share && share < 1 ? 2 : 1)}%)`;
    return item;
  }));
}

function rows(id, empty, list, build) {
  $(id).hidden = list.length === 0;
  $(empty).hidden = list.length > 0;
  $(id).querySelector("tbody").replaceChildren(...list.map((entry) => {
    const row = document.createElement("tr");
    row.append(...build(entry));
    return row;
  }));
}

function cell(content, look = "") {
  const element = document.createElement("td");
  element.className = look;
  element.append(content);
  return element;
}

function showErrors(errors) {
  rows("errors", "no-errors", errors, (error) => {
    const remedy = document.createElement("span");
    remedy.className = "remedy";
    remedy.textContent = error.remedy;
    const says = cell(error.message || error.description, "says");
    says.append(remedy);
    const kind = document.createElement("span");
    kind.className = "strong";
    kind.textContent = error.kind;
    return [cell(kind), cell(error.stage), cell(error.count.toLocaleString("en"), "number"),
      cell(new Date(error.last_seen).toLocaleTimeString("en-GB")), says, cell(error.samples.slice(-3).join(", "), "ids mono")];
  });
}

function showPartitions(partitions) {
  const most = Math.max(1, ...partitions.map(({ lag }) => lag));
  rows("partitions", "no-partitions", partitions, ({ topic, partition, position, end, lag }) => {
    const meter = document.createElement("div"), bar = document.createElement("span");
    meter.className = "meter";
    bar.style.width = `${(100 * lag) / most}%`;
    meter.append(bar);
    return [cell(topic), ...[partition, position, end, lag].map((number) => cell(number.toLocaleString("en"), "number")), cell(meter)];
  });
}

function duration(seconds) {
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  if (days) return `${days} d ${hours} h`;
  return hours ? `${hours} h ${minutes} min` : minutes ? `${minutes} min ${Math.floor(seconds % 60)} s` : `${Math.floor(seconds)} s`;
}

function showFacts(status) {
  const { group, totals, window: batching } = status;
  const facts = {
    "Group": `${group.id}${group.generation === null ? "" : `, generation ${group.generation}`}`,
    "Guarantee": status.processing_guarantee.replaceAll("_", " "),
    "Micro-batches": `${batching.max_batch_size.toLocaleString("en")} events or ${batching.max_queue_delay_ms} ms`,
    ...(batching.kind === "none" ? {} : {
      "Windows": `${batching.kind}: ${batching.open_windows.toLocaleString("en")} open, ${batching.buffered_rows.toLocaleString("en")} events in them`,
    }),
    "Model call": status.now.model_p50_ms === null ? "–" : `p50 ${short(status.now.model_p50_ms)} ms · p99 ${short(status.now.model_p99_ms)} ms`,
    "Commits": `${totals.commits.toLocaleString("en")}, of ${totals.batches.toLocaleString("en")} batches`,
    "Rewinds": totals.rewinds.toLocaleString("en"),
    "Event loop": `held up for ${short(status.health.loop_delay_ms)} ms at most`,
    "Up": duration(status.uptime_s),
    "Process": `${status.pid} on ${status.host}`,
    "Release": status.release,
  };
  $("facts").replaceChildren(...Object.entries(facts).flatMap(([name, words]) => {
    const term = document.createElement("dt"), said = document.createElement("dd");
    term.textContent = name;
    said.textContent = words;
    return [term, said];
  }));
}

function showWarnings(warnings) {
  $("no-warnings").hidden = warnings.length > 0;
  $("warnings").replaceChildren(...warnings.map(({ at, message, level }) => {
    const item = document.createElement("li"), time = document.createElement("time");
    time.textContent = new Date(at).toLocaleTimeString("en-GB");
    if (level !== "warning") item.className = "bad";
    item.append(time, message);
    return item;
  }));
}

$("hold").addEventListener("click", async () => {
  const to = $("hold").dataset.to;
  if (to === "pause" && !confirm("Stop reading until somebody resumes it? The worker keeps its partitions.")) return;
  try {
    await ask(to, { method: "POST" });
  } catch { /* the next look tells */ }
  await look();
});

$("ask-token").addEventListener("submit", async (event) => {
  event.preventDefault();
  token = $("token").value.trim();
  sessionStorage.setItem("token", token);
  await look();
});

$("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
});
const theme = localStorage.getItem("theme");
if (theme) document.documentElement.dataset.theme = theme;

for (const button of document.querySelectorAll("[data-span]")) {
  button.addEventListener("click", () => {
    span = Number(button.dataset.span);
    for (const each of document.querySelectorAll("[data-span]")) each.setAttribute("aria-pressed", each === button);
    if (lastAnswer) for (const chart of charts) chart.show(history.at, history, span, history.at[history.at.length - 1]);
  });
}

async function forever() {
  for (;;) {
    await look();
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
}
forever();
