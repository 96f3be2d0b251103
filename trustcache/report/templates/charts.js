// The charts: Vega-Lite's specifications with the chosen data, drawn once they come into view.
const charts = {};

// Name, colour, dash and symbol of each curve.
function looks(names) {
  const { colours, dashes, shapes, ideal } = page.looks;
  let place = 0;
  return names.map(name => {
    if (name === baseline()?.name) return ["currentColor", [1, 0], "stroke"];
    if (name === ideal) return ["#888888", [1, 3], "stroke"];
    const look = [colours[place % colours.length], dashes[place % dashes.length], shapes[place % shapes.length]];
    place += 1;
    return look;
  });
}

function curves(spec, names) {
  const found = looks(names), channels = { color: 0, strokeDash: 1, shape: 2 };
  for (const layer of spec.layer) for (const [channel, place] of Object.entries(channels))
    if (layer.encoding[channel]?.scale) layer.encoding[channel].scale = { domain: names, range: found.map(look => look[place]) };
  return spec;
}

function curveRows(name, columns) {
  const size = Object.values(columns)[0].length, every = Math.max(1, Math.floor(size / 10));
  const shift = [...name].reduce((sum, letter) => sum + letter.codePointAt(0), 0) % every;
  return Array.from({ length: size }, (_, i) => ({
    m: name, i, dot: i % every === shift, ...Object.fromEntries(Object.entries(columns).map(([key, v]) => [key, v[i]])),
  }));
}

function idealRows(error) {
  const coverage = [0, ...Array.from({ length: 40 }, (_, i) => 1 - error + error * i / 39)];
  const risk = coverage.map(c => Math.max(c - (1 - error), 0) / Math.max(c, 1e-9));
  const rows = curveRows(page.looks.ideal, { coverage: coverage.map(c => 100 * c), risk: risk.map(r => 100 * r) });
  return rows.map(row => ({ ...row, dot: false }));
}

const picked = () => [...new Set([state.method, ...state.picks])].filter(i => on(unit().methods[i]))
  .sort((a, b) => a - b).map(i => unit().methods[i]);

// The height of a chart whose legend has so many names, two in a row.
const tall = names => page.looks.plot + page.looks.legend * Math.ceil(names / 2);

const specs = {
  risk() {
    const spec = structuredClone(page.charts.risk), shown = picked();
    const rows = shown.flatMap(m => {
      const { c, w, n } = on(m), k = c.map((_, i) => i).filter(i => c[i]);
      return curveRows(m.name, { coverage: k.map(i => 100 * c[i] / n), risk: k.map(i => 100 * w[i] / c[i]) });
    });
    const highest = Math.max(...rows.filter(row => row.coverage >= page.looks.spike).map(row => row.risk)) || 1;
    for (const layer of spec.layer.slice(0, 2)) layer.encoding.y.scale.domainMax = highest;
    rows.push(...idealRows(on().bad / on().n));
    return { spec: curves(spec, [...shown.map(m => m.name), page.looks.ideal]), rows, height: tall(shown.length + 1) };
  },
  roc() {
    const spec = structuredClone(page.charts.roc), shown = picked().filter(m => on(m).bad && on(m).n > on(m).bad);
    const rows = shown.flatMap(m => {
      const { c, w, n, bad } = on(m);
      return curveRows(m.name, { fpr: w.map(x => 100 * x / bad), tpr: c.map((x, k) => 100 * (x - w[k]) / (n - bad)) });
    });
    return { spec: curves(spec, shown.map(m => m.name)), rows, height: tall(shown.length) };
  },
  histogram() {
    const [low, high] = method().edges, bins = page.looks.bins, { r, f, n, bad } = on();
    const bars = (counts, total, sign, what) => counts.map((count, i) => ({
      lo: low + (high - low) * i / bins, hi: low + (high - low) * (i + 1) / bins,
      share: sign * 100 * count / Math.max(1, total), count, what,
    })).filter(row => row.count);
    const rows = [...bars(r, n - bad, 1, "right"), ...bars(f, bad, -1, "wrong")];
    return { spec: structuredClone(page.charts.histogram), rows, height: tall(2) };
  },
  reliability() {
    const shown = [...new Set([baseline(), method()])].filter(m => m && on(m)?.rel.length);
    const rows = shown.flatMap(m => on(m).rel.map(([count, right, confidence]) => {
      const [low, high] = wilson(right, count);
      return { m: m.name, confidence: 100 * confidence, accuracy: 100 * right / count, low: 100 * low, high: 100 * high, n: count };
    }));
    const spec = structuredClone(page.charts.reliability), names = shown.map(m => m.name);
    for (const layer of spec.layer) for (const [channel, range] of [["color", looks(names).map(look => look[0])], ["shape", ["diamond", "circle"]]])
      if (layer.encoding[channel]) layer.encoding[channel].scale = { domain: names, range };
    return { spec, rows, height: tall(names.length) };
  },
};

function now() {
  const { c, w, n, bad } = on(), k = state.step, [low, high] = method().edges;
  const count = c[k], wrong = w[k];
  return [{
    coverage: 100 * count / n, risk: count ? 100 * wrong / count : 0, fpr: bad ? 100 * wrong / bad : 0,
    tpr: n > bad ? 100 * (count - wrong) / (n - bad) : 0,
    threshold: Math.min(high, Math.max(low, method().t[k])),
  }];
}

async function draw(name) {
  const holder = $(`chart-${name}`), chart = charts[name] ??= {};
  if (!holder || !chart.seen) return;
  const turn = chart.turn = (chart.turn ?? 0) + 1;
  await charting();
  if (turn !== chart.turn) return;
  const { spec, rows, height } = specs[name]();
  const made = await vegaEmbed(holder, sized(page.looks.config, spec, rows, height, now()), quiet);
  chart.view?.finalize();
  chart.view = made.view;
  move();
}

// Moves the line through all charts.
function move() {
  for (const name of ["risk", "roc", "histogram"]) charts[name]?.view?.data("now", now()).runAsync();
}

const watch = new IntersectionObserver(entries => {
  for (const { target, isIntersecting } of entries) if (isIntersecting) see(target.id.replace("chart-", ""));
}, { rootMargin: "300px" });

function see(name) {
  if ((charts[name] ??= {}).seen) return;
  charts[name].seen = true;
  draw(name);
}
