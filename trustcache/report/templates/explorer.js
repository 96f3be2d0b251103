// The explorer: the slider, its presets, the figures beside it, and what else follows the choice.
function filled(cell, value, interval) {
  cell.textContent = value;
  if (interval) {
    const small = document.createElement("small");
    small.textContent = `${fixed(100 * interval[0])} to ${fixed(100 * interval[1])}`;
    cell.append(" ", small);
  }
}

function shares(row, counted) {
  const [count, wrong, n, bad] = counted, right = n - bad;
  const pairs = [[count, n], [wrong, count], [count - wrong, right], [bad - wrong, bad]];
  pairs.forEach(([part, whole], i) => {
    if (whole) filled(row.cells[i + 1], percent(part / whole), wilson(part, whole));
    else filled(row.cells[i + 1], "–");
  });
}

function sentence() {
  const { c, w, n } = on(), k = state.step;
  const risk = c[k] ? `risk ${percent(w[k] / c[k])}` : "nothing accepted";
  return `threshold ${threshold(method().t[k])}: coverage ${percent(c[k] / n)}, ${risk}`;
}

function options(select, entries, chosen) {
  select.replaceChildren(...entries.map(([group, list]) => {
    const made = list.map(([value, text]) => Object.assign(new Option(text, value, false, value === chosen), { dir: "auto" }));
    if (!group) return made;
    const holder = Object.assign(document.createElement("optgroup"), { label: group });
    holder.append(...made);
    return [holder];
  }).flat());
}

function drawPoint() {
  const m = method(), counts = on(), k = state.step, { c, w, x, v, n, bad } = counts;
  const slider = $("slider");
  slider.max = m.t.length - 1;
  slider.value = k;
  slider.setAttribute("aria-valuetext", sentence());
  $("threshold").textContent = threshold(m.t[k]);
  const [mine, other] = $("figures").tBodies[0].rows;
  shares(mine, [c[k], w[k], n, bad]);
  other.hidden = !x || m.baseline;
  if (x) shares(other, [x[k], v[k], n, bad]);
  const put = (id, count) => $(id).textContent = count.toLocaleString("en");
  put("tp", c[k] - w[k]);
  put("fp", w[k]);
  put("fn", n - bad - (c[k] - w[k]));
  put("tn", bad - w[k]);
  const steps = presets();
  for (const button of all("button", $("presets"))) {
    const step = steps[button.dataset.preset];
    button.setAttribute("aria-pressed", step === k);
  }
  move();
  drawHeat();
  drawFailures();
}

function drawChoice() {
  const { data, methods } = unit();
  for (const part of all(".unit")) part.hidden = +part.dataset.unit !== state.unit;
  if ($("classifier")) $("classifier").value = state.unit;
  const named = list => list.map(([one, i]) => [i, one.name]);
  const places = data.map((one, i) => [one, i]).filter(([, i]) => method().on[i]);
  options($("oracle"), [["", named(methods.map((one, i) => [one, i]))]], state.method);
  options($("data"), [["clean", named(places.filter(([one]) => one.clean))], ["changed", named(places.filter(([one]) => !one.clean))]]
    .filter(([, list]) => list.length), state.data);
  for (const name of all("[data-shows=oracle]")) name.textContent = method().name;
  for (const name of all("[data-shows=data]")) name.textContent = data[state.data].name;
  for (const name of all("[data-shows=n]")) name.textContent = on().n.toLocaleString("en");
  $("half").hidden = !unit().half || state.data !== unit().start.data;
  $("presets").replaceChildren(...Object.entries(presets()).map(([name, step]) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: name, disabled: step === null });
    button.dataset.preset = name;
    button.addEventListener("click", () => choose({ step: presets()[name] }));
    return button;
  }));
  drawPicks();
  drawPoint();
  for (const name of Object.keys(specs)) draw(name);
}

function redraw(stepOnly) {
  if (stepOnly) drawPoint();
  else drawChoice();
}

function listen() {
  $("slider").addEventListener("input", event => choose({ step: +event.target.value }));
  $("oracle").addEventListener("change", event => choose({ method: +event.target.value }));
  $("data").addEventListener("change", event => choose({ data: +event.target.value }));
  $("measure").addEventListener("change", drawHeat);
  $("classifier")?.addEventListener("change", event => { begin(+event.target.value); redraw(); link(); });
  for (const button of all("[data-save]"))
    button.addEventListener("click", () => {
      const { spec, rows, height } = specs[button.dataset.figure]();
      save(button.dataset.figure, button.dataset.save, sized(page.looks.config, spec, rows, height, now()));
    });
  addEventListener("hashchange", () => { followLink(); redraw(); });
  addEventListener("beforeprint", () => {
    for (const one of all("details")) one.open = true;
    for (const name of Object.keys(specs)) see(name);
  });
}

async function start() {
  page = decoded(JSON.parse(await unpacked("numbers")));
  if (!page.units.length) return;
  followLink();
  document.documentElement.classList.add("live");
  for (const one of all("details.unit")) one.open = false; // the heat map shows as much
  listen();
  listenToTables();
  redraw();
  for (const holder of all(".chart")) watch.observe(holder);
}
start();
