// The table of methods: sorted by any column, searched, families folded; ticks choose curves, names the oracle.
const families = () => all("#methods .unit:not([hidden]) tbody");

function drawPicks() {
  for (const body of families()) for (const row of body.rows) {
    const place = +row.dataset.method;
    row.querySelector("input").checked = state.picks.has(place) || place === state.method;
    row.querySelector("input").disabled = place === state.method;
    row.classList.toggle("chosen", place === state.method);
    row.querySelector(".choose").setAttribute("aria-pressed", place === state.method);
  }
  fold();
}

// A folded family shows its first row, what is searched for shows wherever it stands.
function fold() {
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const body of families()) {
    const open = body.classList.contains("open");
    [...body.rows].forEach((row, i) => {
      const text = `${row.textContent} ${body.dataset.family}`.toLowerCase();
      row.hidden = words.length ? !words.every(word => text.includes(word)) : !open && i > 0 && !row.classList.contains("chosen");
      shown += !row.hidden;
      const button = row.querySelector(".fold");
      button.hidden = i > 0 || body.rows.length < 2 || words.length > 0;
      button.setAttribute("aria-expanded", open);
      button.textContent = open ? "fold" : `show ${body.rows.length - 1} more of its family`;
    });
  }
  $("found").textContent = words.length ? `${shown} found` : "";
}

function listenToTables() {
  listenToSorting(fold);
  for (const row of all("#methods tbody tr")) {
    const place = +row.dataset.method;
    row.querySelector("input").addEventListener("change", event => {
      if (event.target.checked) state.picks.add(place); else state.picks.delete(place);
      draw("risk");
      draw("roc");
    });
    row.querySelector(".choose").addEventListener("click", () => choose({ method: place }));
    row.querySelector(".fold").addEventListener("click", () => { row.parentNode.classList.toggle("open"); fold(); });
  }
  $("search").addEventListener("input", fold);
}
