// Tables sorted by a click on a heading, from its good end first; parts of a table stay together.
const value = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent.replace("–", "");

function sort(head) {
  const good = head.dataset.good, sorted = head.getAttribute("aria-sort");
  const rising = sorted ? sorted === "descending" : good !== "high";
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", rising ? "ascending" : "descending");
  arrange(head);
}

function arrange(head) {
  const column = head.cellIndex, good = head.dataset.good, rising = head.getAttribute("aria-sort") === "ascending";
  const compare = (a, b) => {
    const [x, y] = [value(a, column), value(b, column)];
    if ((x === "") !== (y === "")) return (x === "") - (y === "");
    return (rising ? 1 : -1) * (good ? parseFloat(x) - parseFloat(y) : x.localeCompare(y, undefined, { numeric: true }));
  };
  const table = head.closest("table");
  for (const body of table.tBodies) body.append(...[...body.rows].sort(compare));
  table.append(...[...table.tBodies].sort((a, b) => compare(a.rows[0], b.rows[0])));
}

function listenToSorting(after = () => {}) {
  for (const button of all("th button.sort"))
    button.addEventListener("click", () => { sort(button.closest("th")); after(); });
}
