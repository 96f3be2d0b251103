// The page's numbers, unpacked, and what is chosen; every other part of the script draws what `state` says.
const summed = differences => { let sum = 0; return differences.map(d => sum += d); };

function decoded(page) {
  for (const unit of page.units) for (const method of unit.methods) for (const on of Object.values(method.on)) {
    on.c = summed(on.c);
    on.w = summed(on.w);
    if (on.v) { on.v = summed(on.v); on.x = on.x.map((more, i) => more + on.c[i]); }
    on.n = on.c.at(-1);
    on.bad = on.w.at(-1);
  }
  for (const { failures } of page.units) for (const row of failures ? [...failures.classes, ...failures.pairs] : []) {
    row.c = summed(row.c);
    if (row.w) row.w = summed(row.w);
  }
  return page;
}

// Wilson's interval of a share, 95 %.
function wilson(count, total) {
  if (!total) return [0, 1];
  const z = 1.959963984540054, p = count / total, wide = 1 + z * z / total;
  const middle = (p + z * z / (2 * total)) / wide;
  const half = z / wide * Math.sqrt(p * (1 - p) / total + z * z / (4 * total * total));
  return [count ? Math.max(0, middle - half) : 0, count < total ? Math.min(1, middle + half) : 1];
}

// A number rounded as Python rounds those beside it: of two equally near the one that ends in an even digit.
function even(rounded, exact) {
  const kept = exact.slice(0, rounded.length), rest = exact.slice(rounded.length);
  return /^50*$/.test(rest) && /[02468]$/.test(kept) ? kept : rounded;
}
const fixed = value => even(value.toFixed(1), value.toFixed(40));
function significant(value, digits) {
  const [[rounded, power], [exact]] = [digits - 1, 40].map(places => value.toExponential(places).split("e"));
  return +`${even(rounded, exact)}e${power}`;
}

const percent = share => `${fixed(100 * share)} %`;
const points = share => `${share < 0 ? "−" : "+"}${fixed(Math.abs(100 * share))}`;
const number = t => t < -1e300 ? "none: all accepted" : String(significant(t, 4)).replace("-", "−");

let page, state;
const unit = () => page.units[state.unit];
const method = () => unit().methods[state.method];
// The threshold of a step, and where scores are log-odds of a probability this too.
const threshold = t => number(t) + (method().odds && t > -1e300 ? `, a probability of ${percent(1 / (1 + Math.exp(-t)))}` : "");
const on = (m = method(), data = state.data) => m.on[data];
const baseline = () => unit().methods.find(m => m.baseline);

// The step whose threshold is nearest; at equal distance the stricter one.
function nearest(m, t) {
  let best = 0;
  m.t.forEach((other, k) => { if (Math.abs(other - t) < Math.abs(m.t[best] - t)) best = k; });
  return best;
}

const first = (array, holds) => { const k = array.findIndex(holds); return k < 0 ? array.length - 1 : k; };

// By name the step of each preset on the chosen data; null where no step reaches it.
function presets() {
  const m = method(), { c, w, n, bad } = on(), found = {};
  if (m.calibrated !== null) found.calibrated = nearest(m, m.calibrated);
  const low = c.findLastIndex((count, k) => count && w[k] / count <= unit().risk);
  found[`risk ≤ ${significant(100 * unit().risk, 3)} %`] = low < 0 ? null : low;
  found["coverage 90 %"] = first(c, count => count / n >= 0.9);
  found["TPR 95 %"] = n > bad ? first(c, (count, k) => (count - w[k]) / (n - bad) >= 0.95) : null;
  if (m.zero) found["z > 0"] = nearest(m, 0);
  return found;
}

function choose(change) {
  const before = method(), coverage = on() ? on().c[state.step] / on().n : 0;
  Object.assign(state, change);
  if (!on()) state.data = +Object.keys(method().on)[0];
  if ("method" in change && method() !== before && !("step" in change))
    state.step = first(on().c, count => count / on().n >= coverage - 1e-9);
  redraw("step" in change && Object.keys(change).length === 1);
  link();
}

function begin(number) {
  const start = page.units[number].start;
  state = { unit: number, method: start.method, data: start.data, step: 0 };
  state.picks = new Set(unit().methods.flatMap((m, i) => m.picked ? [i] : []));
  state.step = nearest(method(), start.threshold);
}

// Written once a slider rests: browsers refuse an address that changes too often.
let resting;
function link() {
  clearTimeout(resting);
  resting = setTimeout(writeLink, 200);
}

function writeLink() {
  const words = { oracle: method().key, data: unit().data[state.data].name, threshold: method().t[state.step] };
  if (page.units.length > 1) words.classifier = unit().name;
  const hash = "#" + new URLSearchParams(words);
  if (hash !== location.hash) history.replaceState(null, "", hash);
}

function followLink() {
  const words = new URLSearchParams(location.hash.slice(1));
  begin(Math.max(0, page.units.findIndex(u => u.name === words.get("classifier"))));
  const place = (list, key, word) => list.findIndex(one => one[key] === words.get(word));
  const m = place(unit().methods, "key", "oracle"), data = place(unit().data, "name", "data");
  if (m >= 0) state.method = m;
  if (data >= 0) state.data = data;
  if (!on()) state.data = +Object.keys(method().on)[0];
  const t = parseFloat(words.get("threshold"));
  state.step = nearest(method(), Number.isNaN(t) ? (m >= 0 && method().calibrated) || unit().start.threshold : t);
}
