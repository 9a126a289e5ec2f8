// Tables and lists of the page.

import { clusterProblem } from "./summary.js";
import { short } from "./scale.js";

const $ = (id) => document.getElementById(id);

export function cell(content, look = "") {
  const element = document.createElement("td");
  element.className = look;
  element.append(content);
  return element;
}

export function span(words, look = "") {
  const element = document.createElement("span");
  element.className = look;
  element.textContent = words;
  return element;
}

export function fill(id, list, build) {
  $(id).querySelector("tbody").replaceChildren(...list.map((entry) => {
    const row = document.createElement("tr");
    row.append(...build(entry));
    return row;
  }));
}

// Shows a table, or the paragraph `empty` if there are no rows.
function rows(id, empty, list, build) {
  $(id).hidden = list.length === 0;
  $(empty).hidden = list.length > 0;
  fill(id, list, build);
}

const time = (ms) => new Date(ms).toLocaleTimeString("en-GB");

export function showErrors(errors) {
  rows("errors", "no-errors", errors, (error) => {
    const message = cell(error.message || error.description, "says");
    message.append(span(error.remedy, "remedy"));
    const examples = cell("", "ids mono");
    // Each in an element of its own, because a position that is broken over two lines is hard to read.
    error.samples.slice(-3).forEach((sample, at) => examples.append(at ? " " : "", span(sample)));
    // Events and windows are counted separately.
    const unit = error.outcome.startsWith("window_") ? "window" : "event";
    const count = `${error.count.toLocaleString("en")} ${unit}${error.count === 1 ? "" : "s"}`;
    return [cell(span(error.kind, "strong")), cell(error.stage), cell(count, "number"), cell(time(error.last_seen), "number"), message, examples];
  });
}

export function showPartitions(status) {
  const { partitions, group } = status;
  const maxLag = Math.max(1, ...partitions.map(({ lag }) => lag)), isKnown = status.lag !== null;
  rows("partitions", "no-partitions", partitions, ({ topic, partition, position, end, lag }) => {
    const meter = document.createElement("div"), bar = document.createElement("span");
    meter.className = "meter";
    bar.style.width = isKnown ? `${(100 * lag) / maxLag}%` : "0";
    meter.append(bar);
    const numbers = [partition, position, isKnown ? end : null, isKnown ? lag : null];
    return [cell(topic), ...numbers.map((number) => cell(number === null ? "–" : number.toLocaleString("en"), "number")), cell(meter)];
  });
  const problem = clusterProblem(status);
  $("no-partitions").textContent = problem ? `Not known: ${problem}.`
    : !group.joined ? "None assigned yet: the worker is joining its group."
      : group.gate !== "open" ? "None assigned now: the group is being rebalanced."
        : "None assigned: other workers of the group have all of them. This one is idle; for more workers the input needs more partitions.";
}

function duration(seconds) {
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  if (days) return `${days} d ${hours} h`;
  return hours ? `${hours} h ${minutes} min` : minutes ? `${minutes} min ${Math.floor(seconds % 60)} s` : `${Math.floor(seconds)} s`;
}

export function showFacts(status) {
  const { group, totals, window: batching, models } = status, isWindowed = batching.kind !== "none";
  const facts = {
    "Group": `${group.id}${group.generation === null ? "" : `, generation ${group.generation}`}`,
    "Guarantee": status.processing_guarantee.replaceAll("_", " "),
    ...(models.length > 1 ? {} : {
      "Micro-batches": `up to ${batching.max_batch_size.toLocaleString("en")} ${isWindowed ? "windows" : "events"} or ${batching.max_queue_delay_ms} ms`,
    }),
    ...Object.fromEntries(models.filter(({ window: { kind } }) => kind !== "none").map(({ name, window: { kind, open_windows: open, buffered_rows: rows } }) => [
      models.length > 1 ? `Windows of ${name}` : "Windows",
      `${kind}: ${open.toLocaleString("en")} open, with ${rows.toLocaleString("en")} events`,
    ])),
    "Model call": status.now.model_p50_ms === null ? "–" : `p50 ${short(status.now.model_p50_ms)} ms · p99 ${short(status.now.model_p99_ms)} ms`,
    "Commits": `${totals.commits.toLocaleString("en")}, of ${totals.batches.toLocaleString("en")} micro-batches`,
    "Rewinds": totals.rewinds.toLocaleString("en"),
    "Event loop": `delayed by up to ${short(status.health.loop_delay_ms)} ms`,
    "Uptime": duration(status.uptime_s),
    "Process": `${status.pid} on ${status.host}`,
    "Release": status.release,
  };
  $("facts").replaceChildren(...Object.entries(facts).flatMap(([name, words]) => {
    const term = document.createElement("dt"), description = document.createElement("dd");
    term.textContent = name;
    description.textContent = words;
    return [term, description];
  }));
}

// Links to the pages of other workers. With rollouts, what they announced when they joined does not say which versions they serve now. Members of the group choose their addresses, so only HTTP URLs become links.
export function showMembers(members, hasRollouts) {
  $("group").hidden = members.length === 0;
  $("group").querySelector(".total").textContent = `${members.length}`;
  fill("members", members, ({ worker, url, models, partitions, self }) => {
    let name = span(worker, self ? "strong" : "");
    if (!self && /^https?:\/\//.test(url || "")) {
      name = document.createElement("a");
      Object.assign(name, { href: url, rel: "noreferrer noopener", title: url, textContent: worker });
    }
    const who = cell(name, "name");
    if (self) who.append(span(" this page", "dim"));
    else if (!url) who.append(span(" no admin API", "dim"));
    const byTopic = {};
    for (const { topic, partition } of partitions) (byTopic[topic] = byTopic[topic] || []).push(partition);
    const owned = Object.entries(byTopic).map(([topic, numbers]) => `${topic} ${numbers.join(",")}`).join(" · ");
    return [who, cell(models.map(({ name: model, version }) => (hasRollouts ? model : `${model} v${version}`)).join(" · ")), cell(owned || "none")];
  });
}

export function showWarnings(warnings) {
  $("no-warnings").hidden = warnings.length > 0;
  $("warnings").replaceChildren(...warnings.map(({ at, message, level }) => {
    const item = document.createElement("li"), moment = document.createElement("time");
    moment.textContent = time(at);
    if (level !== "warning") item.className = "bad";
    item.append(moment, message);
    return item;
  }));
}
