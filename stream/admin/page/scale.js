// Pure functions for the vertical axis of a chart.

// The smallest step of the form 1, 2 or 5 × 10^n such that at most four steps reach `max`.
export function niceStep(max) {
  const raw = max / 4, power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= raw - 1e-12);
}

// Step and top value of the axis. A few values far above all others do not flatten the rest: they are cut off, and the
// chart marks them. values: without nulls.
export function axisTop(values, least) {
  const sorted = values.filter((value) => value > 0).sort((one, other) => other - one);
  const spikes = Math.max(2, Math.ceil(values.length * 0.02));
  const highest = sorted.length ? sorted[0] : 0, usual = sorted.length > spikes ? sorted[spikes] : highest;
  const max = Math.max(least, highest > 3 * usual ? 1.25 * usual : highest);
  const step = niceStep(max);
  return { step, top: Math.ceil(max / step - 1e-9) * step };
}

// [first, last] of each run of consecutive indexes for which `matches` is true.
export function runs(count, matches) {
  const ranges = [];
  for (let index = 0; index < count; index += 1) {
    if (!matches(index)) continue;
    const last = ranges[ranges.length - 1];
    if (last && last[1] === index - 1) last[1] = index;
    else ranges.push([index, index]);
  }
  return ranges;
}

export function short(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size >= 1e9) return (value / 1e9).toFixed(1) + "G";
  if (size >= 1e6) return (value / 1e6).toFixed(size >= 1e7 ? 0 : 1) + "M";
  if (size >= 1e4) return (value / 1e3).toFixed(size >= 1e5 ? 0 : 1) + "k";
  if (size >= 100 || Number.isInteger(value)) return Math.round(value).toLocaleString("en");
  return value.toFixed(size >= 10 ? 1 : 2);
}
