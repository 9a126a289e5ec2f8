// The live page: fetches /status every second, keeps the samples of five minutes and draws them.

import { Chart } from "./charts.js";
import { blockedNote, isWindowed as anyWindowed, modelName, showModels } from "./models.js";
import { eventOutcomes, numEvents, series, showLedger, windowOutcomes } from "./outcomes.js";
import { inService, showRollouts } from "./rollouts.js";
import { showErrors, showFacts, showMembers, showPartitions, showWarnings } from "./sections.js";
import { showBanner, showHealth, showPill, showTiles } from "./summary.js";

const INTERVAL_MS = 1000, HISTORY_S = 300, TIMEOUT_MS = 4000;
const $ = (id) => document.getElementById(id);
const text = (id, value) => { $(id).textContent = value; };

const charts = {
  rate: new Chart($("chart-rate"), series(eventOutcomes(false, {})), { stacked: true, least: 10, empty: "No events in this span." }),
  windows: new Chart($("chart-windows"), series(windowOutcomes(true, {})), { stacked: true, least: 4, empty: "No windows in this span." }),
  latency: new Chart($("chart-latency"), [
    { name: "latency_p50", label: "p50", look: "one" },
    { name: "latency_p95", label: "p95", look: "two" },
    { name: "latency_p99", label: "p99", look: "three" },
  ], { least: 5, empty: "No events in this span." }),
  batch: new Chart($("chart-batch"), [
    { name: "batch_mean", label: "mean", look: "one" },
    { name: "batch_max", label: "largest", look: "two" },
  ], { least: 4, empty: "No batches in this span." }),
  lag: new Chart($("chart-lag"), [{ name: "lag", label: "lag", look: "one" }], { soft: true, least: 10, empty: "The lag is not known." }),
};

let history = { at: [] }, worker = null, span = 120, lastAnswer = null, token = sessionStorage.getItem("token");

function remember(columns) {
  for (const [name, values] of Object.entries(columns)) history[name] = [...(history[name] || []), ...values].slice(-HISTORY_S);
}

async function request(path, options = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const stop = AbortSignal.timeout(TIMEOUT_MS);
  return fetch(path, { ...options, headers, signal: stop, cache: "no-store" });
}

async function refresh() {
  const since = history.at.length ? history.at[history.at.length - 1] : 0;
  let answer;
  try {
    answer = await request(`status?history=${since}`);
  } catch {
    return showOutage("no answer");
  }
  if (answer.status === 401) return askToken("The worker does not accept this token.");
  if (answer.status === 403) return askToken("This token does not have the role look.");
  if (!answer.ok) return showOutage(`status ${answer.status}`);
  const status = await answer.json();
  if (worker !== status.worker) { // another worker listens here now: its samples do not continue the old ones
    const stale = worker !== null;
    worker = status.worker;
    history = { at: [] };
    if (stale) return refresh();
  }
  remember(status.history);
  $("ask-token").hidden = true;
  $("board").hidden = false;
  lastAnswer = Date.now();
  document.body.classList.remove("stale");
  show(status);
}

function showOutage(reason) {
  document.body.classList.add("stale");
  showPill("bad", "no answer");
  const since = lastAnswer ? ` since ${new Date(lastAnswer).toLocaleTimeString("en-GB")}` : "";
  showBanner(`The worker does not answer${since} (${reason}). This page shows its last answer.`, true);
}

function askToken(reason) {
  if ($("ask-token").hidden) {
    $("ask-token").hidden = false;
    $("board").hidden = true;
    showPill("warn", "token needed");
    $("token").focus();
  }
  text("token-error", token ? reason : "");
}

function show(status) {
  const { rollouts = [] } = status; // absent if rollouts are not enabled
  const more = new Set(status.models.map(({ name }) => name)).size - 1;
  document.title = `${modelName(status.model)}${more ? ` and ${more} more` : ""} · Forebay`;
  text("model", inService(status.models, rollouts).map(modelName).join(" · "));
  text("worker", status.worker);
  showHealth(status);
  showTiles(status, anyWindowed(status.models));
  text("flight-note", blockedNote(status.models));
  showModels(status.models, rollouts);
  showRollouts(rollouts);
  showLedgers(status);
  showErrors(status.errors);
  showPartitions(status);
  showFacts(status);
  showMembers(status.group.members || [], rollouts.length > 0);
  showWarnings(status.last_warnings);
  drawCharts(status.at / 1000);
  text("asof", `as of ${new Date(status.at).toLocaleTimeString("en-GB")}`);
  $("hold").hidden = false;
  text("hold", status.health.paused ? "Resume" : "Pause");
  $("hold").dataset.to = status.health.paused ? "resume" : "pause";
}

function showLedgers({ totals, models, window: { kind }, input_topics: topics = [] }) {
  const counts = totals.outcomes, isWindowed = anyWindowed(models);
  const events = eventOutcomes(isWindowed, counts), windows = windowOutcomes(isWindowed, counts);
  showLedger($("events"), events, counts, "events");
  $("no-events").hidden = numEvents(counts) > 0;
  text("input-topics", topics.join(" or "));
  text("publish-command", `forebay publish --features '[…]' ${kind === "none" ? "--wait 30" : "--key KEY"}`);
  $("windows").hidden = $("chart-windows").hidden = !isWindowed;
  text("batch-unit", models.length > 1 && isWindowed ? "events or windows per batch" : isWindowed ? "windows per batch" : "events per batch");
  if (isWindowed) showLedger($("windows"), windows, counts, "windows");
  for (const [chart, outcomes] of [[charts.rate, events], [charts.windows, windows]]) {
    if (outcomes.length && outcomes.join() !== chart.series.map(({ name }) => name).join()) chart.setSeries(series(outcomes));
  }
}

function drawCharts(now) {
  const end = history.at.length ? history.at[history.at.length - 1] : now;
  for (const chart of Object.values(charts)) chart.show(history.at, history, span, end);
}

$("hold").addEventListener("click", async () => {
  const to = $("hold").dataset.to;
  if (to === "pause" && !confirm("Pause reading until you resume it? The worker keeps its partitions.")) return;
  try {
    const answer = await request(to, { method: "POST" });
    if (answer.status === 403) alert("Your token does not have the role operate.");
  } catch { /* the next refresh shows the result */ }
  await refresh();
});

$("ask-token").addEventListener("submit", async (event) => {
  event.preventDefault();
  token = $("token").value.trim();
  sessionStorage.setItem("token", token);
  await refresh();
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
    for (const other of document.querySelectorAll("[data-span]")) other.setAttribute("aria-pressed", other === button);
    if (lastAnswer) drawCharts(lastAnswer / 1000);
  });
}

async function poll() {
  for (;;) {
    await refresh();
    await new Promise((resolve) => setTimeout(resolve, INTERVAL_MS));
  }
}
poll();
