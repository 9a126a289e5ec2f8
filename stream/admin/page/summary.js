// The top of the page: health, banner, and tiles with the current values.

import { short } from "./scale.js";

const SILENCE_S = 6; // LAG_VALID_S in stream/admin/health.py: after that the last answer is out of date
const $ = (id) => document.getElementById(id);
const text = (id, value) => { $(id).textContent = value; };

export function showPill(look, words) {
  $("health").className = `pill ${look}`;
  text("health", words);
}

export function showBanner(words, bad = false) {
  $("banner").hidden = !words;
  $("banner").className = bad ? "banner bad" : "banner";
  text("banner", words || "");
}

// The problem of the cluster as seen by the worker; null if there is none.
export function clusterProblem({ health }) {
  const silence = health.cluster_answered_ago_s;
  if (silence === null || silence === undefined) return health.cluster === "unknown" ? "the cluster has not answered yet" : null;
  if (silence > SILENCE_S) return `the cluster has not answered for ${Math.round(silence)} s`;
  return health.cluster === "failing" ? "the cluster refuses commits" : null;
}

// The name of a breaker in a sentence: `model:late` is that of one of several models, `model:late:3` that of one of its versions.
const ofBreaker = (name) => name.replace(/^model:([^:]+)(?::(\d+))?$/, (_, model, version) => `model ${model}${version ? ` v${version}` : ""}`);

// Why revisions of models cannot be applied.
const rolloutProblems = (rollouts) => rollouts.filter(({ error }) => error)
  .map(({ model, applied, error }) => `${model} continues with revision ${applied}: ${error}`);

// Why the objective on latency is not met.
const missedObjective = (objective) => !objective || objective.met ? []
  : [`the objective of ${objective.p99_ms} ms for the p99 latency is not met: ${objective.detail}`];

const openBreakers = (breakers) => Object.entries(breakers).filter(([, breaker]) => breaker.state !== "closed");

export function showHealth(status) {
  const { health, breakers } = status;
  const open = openBreakers(breakers).map(([name]) => name), problem = clusterProblem(status);
  const remarks = [...health.reasons], isPaused = open.includes("cluster") || open.includes("model");
  const effect = isPaused ? "reading is paused" : "only topics that feed other models are read";
  if (open.length) remarks.push(`the circuit breaker of the ${open.map(ofBreaker).join(" and the ")} is open: ${effect}, nothing is lost`);
  if (problem) remarks.push(`${problem}: nothing is lost, and work continues when the cluster recovers`);
  if (health.paused) remarks.push("reading is paused by an operator");
  const waits = health.waiting_for_schemas || [];
  remarks.push(...waits, ...rolloutProblems(status.rollouts || []), ...missedObjective(status.objective));
  if (!health.live) showPill("bad", "stuck");
  else if (!health.started) showPill("warn", "warming up");
  else if (!health.ready) showPill("warn", "not ready");
  else if (health.paused) showPill("warn", "paused");
  else if (open.length || problem || waits.length) showPill("warn", "degraded");
  else showPill("good", "ready");
  showBanner(remarks.join(" · "), !health.live);
}

// The reason why no events are being finished.
function idleReason(status) {
  const { health, breakers, partitions, lag, in_flight: flight } = status;
  const problem = clusterProblem(status);
  if (problem) return problem;
  if (!health.ready) return "not ready";
  if (health.paused) return "reading is paused";
  if (openBreakers(breakers).length) return "a circuit breaker is open";
  if (!partitions.length) return "no partitions assigned";
  return lag || flight.events ? "no events finished" : "no events arrive";
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

function note(id, words) {
  text(id, words);
  $(id).title = words; // in case the tile is too narrow
}

// isWindowed: whether any model takes windows.
export function showTiles(status, isWindowed) {
  const { now, in_flight: flight, partitions, models } = status;
  const problem = clusterProblem(status);
  value("rate", short(now.events_per_s));
  const windows = (now.window_predicted_per_s || 0) + (now.window_failed_per_s || 0);
  const ofWindows = isWindowed ? `${short(windows)} window${windows === 1 ? "" : "s"} per second` : `over ${now.span_s} s`;
  note("rate-note", now.events_per_s ? ofWindows : idleReason(status));
  value("p50", short(now.latency_p50_ms), now.latency_p50_ms === null ? "" : "ms");
  note("p99", now.latency_p99_ms === null ? "" : `p95 ${short(now.latency_p95_ms)} · p99 ${short(now.latency_p99_ms)} ms`);
  value("lag", short(status.lag));
  const count = `${partitions.length} partition${partitions.length === 1 ? "" : "s"}`;
  note("lag-note", status.lag === null ? problem || "not known yet" : count);
  value("flight", short(flight.events));
  $("flight-bar").style.width = `${Math.min(100, (100 * flight.events) / flight.max_events)}%`;
  value("batch", short(now.batch_mean));
  const unit = isWindowed ? "windows" : "events";
  const limit = Math.max(...models.map(({ window: { max_batch_size: size } }) => size));
  note("batch-note", now.batch_max === null ? `at most ${short(limit)} ${models.length > 1 ? "rows" : unit}`
    : `largest ${short(now.batch_max)} of ${short(limit)}`);
  showBreakers(status.breakers);
}

function showBreakers(breakers) {
  const open = openBreakers(breakers);
  text("breakers", open.length ? open.map(([name, { state }]) => `${ofBreaker(name)} ${state.replace("_", " ")}`).join(", ") : "closed");
  $("breakers").classList.toggle("bad", open.length > 0);
  const wait = open.length ? open[0][1].tries_again_in_s : null;
  note("breakers-note", wait !== null ? `next attempt in ${wait} s` : Object.keys(breakers).map(ofBreaker).join(", ").replace(/, ([^,]*)$/, " and $1"));
}
