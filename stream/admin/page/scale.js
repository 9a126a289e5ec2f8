// Pure functions of a chart's vertical axis.

// The smallest of 1, 2, 5 × 10^n of which at most four reach `max`.
export function niceStep(max) {
  const raw = max / 4, power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= raw - 1e-12);
}

// The value at the top of the axis. A few values far above all others do not flatten the rest: they are cut off, and the
// chart marks them. values: without nulls.
export function axisTop(values, least) {
  const sorted = values.filter((value) => value > 0).sort((one, other) => other - one);
  const spikes = Math.max(2, Math.ceil(values.length * 0.02));
  const highest = sorted.length ? sorted[0] : 0, usual = sorted.length > spikes ? sorted[spikes] : highest;
  const max = Math.max(least, highest > 3 * usual ? 1.25 * usual : highest);
  const step = niceStep(max);
  return { step, top: Math.ceil(max / step - 1e-9) * step };
}

// [first, last] of each run of indexes for which `is` holds.
export function runs(count, is) {
  const found = [];
  for (let index = 0; index < count; index += 1) {
    if (!is(index)) continue;
    const last = found[found.length - 1];
    if (last && last[1] === index - 1) last[1] = index;
    else found.push([index, index]);
  }
  return found;
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
