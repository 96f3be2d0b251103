// Where it fails: a heat map of the chosen oracle over all data sets; a click chooses the data of the whole page.
const measures = {
  accuracy: { name: "accuracy (%)", of: (m, d) => 1 - on(m, d).bad / on(m, d).n },
  coverage: { name: "coverage at this threshold (%)", of: (m, d) => on(m, d).c[state.step] / on(m, d).n },
  risk: { name: "risk at this threshold (%)", of: (m, d) => on(m, d).c[state.step] ? on(m, d).w[state.step] / on(m, d).c[state.step] : null },
  auc: { name: "AUC (%)", of: (m, d) => on(m, d).auc },
  difference: {
    name: "AUC less mcp's (points)", diverging: true,
    of: (m, d) => on(baseline(), d) && on(m, d).auc !== null ? on(m, d).auc - on(baseline(), d).auc : null,
  },
};

function heatCells() {
  const m = method(), measure = measures[$("measure").value];
  return unit().data.map((data, i) => on(m, i) && { i, ...data, value: measure.of(m, i) }).filter(Boolean);
}

// Never so dark that black on it could not be read; the sign is in the colour and in the number.
function shade(share, diverging) {
  if (!diverging) return `hsl(205 60% ${93 - 40 * share}%)`;
  return `hsl(${share < 0 ? 24 : 205} 65% ${95 - 38 * Math.abs(share)}%)`;
}

// The ends of the colours, as fractions: so far apart that a small difference looks small.
function heatDomain(cells, diverging) {
  const values = cells.map(cell => cell.value).filter(v => v !== null), half = page.looks.span / 200;
  if (!values.length) return [-half, half];
  const low = Math.min(...values), high = Math.max(...values);
  if (diverging) return [-1, 1].map(sign => sign * Math.max(-low, high, half));
  return [-1, 1].map(sign => (low + high) / 2 + sign * Math.max((high - low) / 2, half));
}

function drawHeat() {
  const measure = measures[$("measure").value], cells = heatCells(), table = $("heat");
  const columns = [...new Set(cells.map(cell => cell.column))].sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
  const rows = [...new Set(cells.map(cell => cell.row))];
  const [low, high] = heatDomain(cells, measure.diverging);
  const make = (tag, text, given = {}) => Object.assign(document.createElement(tag), { textContent: text }, given);
  const isolated = name => { const cell = make("th", "", { scope: "row" }); cell.append(make("bdi", name)); return cell; };
  const focused = table.contains(document.activeElement) ? document.activeElement.dataset.data : null;
  table.tHead.rows[0].replaceChildren(make("th", columns.some(Boolean) ? "images, by severity" : "images", { scope: "col" }),
    ...columns.map(column => make("th", column || unit().noSeverity, { scope: "col" })));
  table.tBodies[0].replaceChildren(...rows.map(name => {
    const row = document.createElement("tr");
    row.append(isolated(name), ...columns.map(column => {
      const cell = document.createElement("td"), found = cells.find(one => one.row === name && one.column === column);
      if (!found) return cell;
      const shown = found.value === null ? "–" : measure.diverging ? points(found.value) : fixed(100 * found.value);
      const button = make("button", shown, { type: "button", title: found.title });
      button.setAttribute("aria-label", `${found.name}: ${measure.name} ${shown}`);
      button.setAttribute("aria-pressed", found.i === state.data);
      button.dataset.data = found.i;
      if (found.value !== null) {
        const share = measure.diverging ? found.value / high : (found.value - low) / (high - low);
        button.style.backgroundColor = shade(share, measure.diverging);
      }
      button.addEventListener("click", () => choose({ data: found.i }));
      cell.append(button);
      return cell;
    }));
    return row;
  }));
  if (focused !== null) table.querySelector(`[data-data="${focused}"]`)?.focus();
  $("heat-caption").textContent = `${measure.name}, seed and threshold as above`;
}

// By class and by confused pair: of the answer's oracle on its images, wherever the slider stands for these.
function drawFailures() {
  const { failures, start } = unit();
  if (!failures) return;
  const answers = unit().methods[start.method], follows = state.method === start.method && state.data === start.data;
  const k = follows ? state.step : nearest(answers, start.threshold);
  for (const part of all("#failures .unit")) if (+part.dataset.unit === state.unit) {
    for (const at of all("[data-shows=at]", part)) at.textContent = number(answers.t[k]);
    for (const row of all("[data-class]", part)) {
      const { c, w } = failures.classes[row.dataset.class], [trusted, wrong, risk] = [...row.cells].slice(3);
      counted(trusted, c[k]);
      counted(wrong, w[k]);
      risk.dataset.value = c[k] ? w[k] / c[k] : "";
      filled(risk, c[k] ? fixed(100 * w[k] / c[k]) : "–", c[k] && wilson(w[k], c[k]));
    }
    for (const row of all("[data-pair]", part)) counted(row.cells[3], failures.pairs[row.dataset.pair].c[k]);
    for (const head of all("[aria-sort]", part)) arrange(head);
  }
}

function counted(cell, count) {
  cell.dataset.value = count;
  cell.textContent = count.toLocaleString("en");
}

specs.heat = () => {
  const measure = measures[$("measure").value], spec = structuredClone(page.charts[measure.diverging ? "difference" : "heat"]);
  const cells = heatCells(), { encoding } = spec.layer[0];
  encoding.color.title = measure.name;
  encoding.color.scale.domain = heatDomain(cells, measure.diverging).map(end => 100 * end);
  const rows = cells.map(({ row, column, value }) => ({ row, column: column || unit().noSeverity, value: value === null ? null : 100 * value }));
  return { spec, rows, height: 40 + 28 * new Set(rows.map(row => row.row)).size };
};
