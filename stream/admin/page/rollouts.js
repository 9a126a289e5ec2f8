// The rollouts of a worker: for each model, which versions serve, who decided it and why, and what is loaded.

import { cell, fill, span } from "./sections.js";

const $ = (id) => document.getElementById(id);

const IDLE = "no longer serves";
const percent = (share) => `${Number(share.toFixed(2))} %`;
const versions = (numbers) => numbers.map((number) => `v${number}`).join(", ");

// What a version of a model is in its rollout, such as `canary, 5 %`; empty if the model has no revision.
export function roleOf(rollouts, { name, version }) {
  const rollout = rollouts.find(({ model }) => model === name);
  if (!rollout || rollout.applied === 0) return "";
  const canary = rollout.canaries.find((one) => one.version === version);
  const shadow = rollout.shadows.find((one) => one.version === version);
  if (canary) return `canary, ${percent(canary.weight)}`;
  if (shadow) return `shadow, ${percent(shadow.sample * 100)} of the events`;
  return version === rollout.stable ? "stable" : IDLE;
}

// The versions that get events: all but those that only stay in memory for a rollback.
export const inService = (models, rollouts) => models.filter((model) => roleOf(rollouts, model) !== IDLE);

function canaries({ canaries: list, steps, step, paused }) {
  const shown = cell(list.length ? "" : "none");
  for (const { version, weight } of list) shown.append(span(`v${version} ${percent(weight)}`, "line strong"));
  if (steps) shown.append(span(`step ${step + 1} of ${steps.weights.length}: ${steps.weights.map(percent).join(", ")}`, "remedy"));
  if (paused) shown.append(span("paused", "line warn-text"));
  return shown;
}

function shadows({ shadows: list }) {
  const shown = cell(list.length ? "" : "none");
  for (const { version, sample, agreement, rows, dropped = {}, error } of list) {
    shown.append(span(`v${version} ${percent(sample * 100)}`, "line strong"));
    const agrees = agreement === null ? "" : `agrees in ${percent(agreement * 100)} of `;
    shown.append(span(rows ? `${agrees}${rows.toLocaleString("en")} compared` : "nothing compared yet", "remedy"));
    const lost = Object.values(dropped).reduce((sum, count) => sum + count, 0);
    if (lost) shown.append(span(`${lost.toLocaleString("en")} dropped`, "remedy"));
    if (error) shown.append(span(error, "remedy warn-text"));
  }
  return shown;
}

function decision({ applied, action, author, automatic, reason, created }) {
  if (applied === 0) return cell(span("as configured", "dim"));
  const shown = cell(span(`${action} by ${author}${automatic ? ", automatic" : ""}, ${new Date(created).toLocaleString("en-GB")}`), "why");
  if (reason) shown.append(span(reason, "remedy"));
  return shown;
}

function state({ accepted, applied, loading, error, resident }) {
  const words = error ? "not applied" : loading ? `loading v${loading}` : accepted > applied ? "at the next poll" : "applied";
  const shown = cell(span(words, error ? "warn-text" : ""));
  if (error) shown.append(span(error, "remedy"));
  if (resident.length) shown.append(span(`in memory: ${versions(resident)}`, "remedy"));
  return shown;
}

// Fills the table of rollouts. It is hidden if rollouts are not enabled.
export function showRollouts(rollouts) {
  $("rollouts").hidden = rollouts.length === 0;
  if (!rollouts.length) return;
  fill("rollout-rows", rollouts, (rollout) => {
    const { model, stable, accepted, applied, rejected } = rollout;
    const serves = cell(span(`v${stable}`, "strong"), "name");
    if (rejected.length) serves.append(span("rolled back:", "remedy"), span(versions(rejected), "remedy"));
    const number = accepted > applied ? `${applied} → ${accepted}` : `${applied}`;
    return [
      cell(span(model, "strong"), "name"), serves, canaries(rollout), shadows(rollout),
      cell(number, "number"), decision(rollout), state(rollout),
    ];
  });
}
