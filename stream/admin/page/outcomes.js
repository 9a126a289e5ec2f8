// The ledgers of events and of windows over event time: each has its own outcomes, colours, total and chart.

const EVENTS = ["predicted", "accepted", "late", "rejected", "failed"];
const WINDOWS = ["window_predicted", "window_failed"];

// Labels of outcomes on the page. The name of an outcome is also the CSS class that sets its colour.
const LABELS = { window_predicted: "predicted", window_failed: "failed" };

export const label = (outcome) => LABELS[outcome] || outcome;

// The outcomes to show: those usual for this kind of worker, and all others that were counted.
function shown(ledger, isWindowed, counts) {
  const usual = isWindowed ? ["accepted", "rejected", ...WINDOWS] : ["predicted", "rejected"];
  return ledger.filter((outcome) => usual.includes(outcome) || counts[outcome]);
}

export const eventOutcomes = (isWindowed, counts) => shown(EVENTS, isWindowed, counts);
export const windowOutcomes = (isWindowed, counts) => (isWindowed ? shown(WINDOWS, isWindowed, counts) : []);

export const sum = (outcomes, counts) => outcomes.reduce((total, outcome) => total + (counts[outcome] || 0), 0);
export const numEvents = (counts) => sum(EVENTS, counts);

// The series of a chart.
export const series = (outcomes) => outcomes.map((name) => ({ name, label: label(name), look: name }));

// Fills a card with the total, a bar of shares and a legend with counts. unit: unit of the total, such as "events".
export function showLedger(card, outcomes, counts, unit) {
  const all = outcomes.map((name) => [name, counts[name] || 0]), total = sum(outcomes, counts);
  card.querySelector(".total").textContent = `${total.toLocaleString("en")} ${unit}`;
  const bar = card.querySelector(".stack");
  bar.replaceChildren(...all.filter(([, count]) => count > 0).map(([name, count]) => {
    const part = document.createElement("span");
    part.className = name;
    part.style.flexGrow = count;
    return part;
  }));
  bar.setAttribute("aria-label", all.map(([name, count]) => `${label(name)} ${count}`).join(", "));
  card.querySelector(".legend").replaceChildren(...all.map(([name, count]) => {
    const item = document.createElement("li"), share = total ? (100 * count) / total : 0;
    item.className = name;
    item.textContent = `${label(name)} ${count.toLocaleString("en")} (${share.toFixed(share && share < 1 ? 2 : 1)}%)`;
    return item;
  }));
}
