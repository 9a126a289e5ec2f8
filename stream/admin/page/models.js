// The models of a worker: their names, why one of them is blocked, and a table if there are several.

import { eventOutcomes, label, windowOutcomes } from "./outcomes.js";
import { roleOf } from "./rollouts.js";
import { cell, fill, span } from "./sections.js";
import { short } from "./scale.js";

const $ = (id) => document.getElementById(id);

const REASONS = {
  breaker_open: "circuit breaker open",
  in_flight_limit: "limit of events in flight",
  device_backlog: "device is behind",
};
const reasonOf = ({ blocked }) => REASONS[blocked] || String(blocked).replaceAll("_", " ");

export const modelName = ({ name, version }) => `${name} v${version}`;

export const isWindowed = (models) => models.some(({ window: { kind } }) => kind !== "none");

// Why topics of models are not read now; empty if all are read.
export function blockedNote(models) {
  const blocked = models.filter((model) => model.blocked);
  if (!blocked.length) return "";
  if (models.length === 1) return `blocked: ${reasonOf(blocked[0])}`;
  return `blocked: ${blocked.map(({ name }) => name).join(", ")}`;
}

function outcomes({ totals: { outcomes: counts }, window: { kind } }) {
  const windowed = kind !== "none", count = (name) => `${label(name)} ${short(counts[name] || 0)}`;
  const events = eventOutcomes(windowed, counts).map(count).join(" · ");
  return windowed ? `${events} · windows: ${windowOutcomes(windowed, counts).map(count).join(" · ")}` : events;
}

function state({ blocked, breaker, ...model }) {
  const words = blocked ? `blocked: ${reasonOf({ blocked })}` : "reading";
  const shown = cell(span(words, blocked ? "warn-text" : ""), "name");
  if (breaker.tries_again_in_s) shown.append(span(`next attempt in ${breaker.tries_again_in_s} s`, "remedy"));
  else if (breaker.state === "half_open") shown.append(span("one call as a trial", "remedy"));
  else if (model.in_flight.model_call_for_s >= 1) shown.append(span(`a call runs for ${short(model.in_flight.model_call_for_s)} s`, "remedy"));
  return shown;
}

// Fills the table of models. It is hidden for an only model, whose values are those of the worker.
export function showModels(models, rollouts) {
  $("models").hidden = models.length < 2;
  $("models").querySelector(".total").textContent = `${models.length}`;
  if (models.length < 2) return;
  fill("model-rows", models, (model) => {
    const { topics, now, in_flight: flight, window: batching } = model;
    const numbers = [now.events_per_s, now.latency_p50_ms, now.latency_p99_ms];
    const size = `${short(now.batch_mean)} of ${short(batching.max_batch_size)}`;
    const name = cell(span(modelName(model), "strong"), "name"), role = roleOf(rollouts, model);
    if (role) name.append(span(role, "remedy"));
    return [
      name, state(model), cell(topics.join(" ") || "events that name it"),
      ...numbers.map((number) => cell(short(number), "number")), cell(size, "number"),
      cell(short(flight.events), "number"), cell(short(flight.waiting_batches), "number"),
      cell(outcomes(model), "counts"),
    ];
  });
}
