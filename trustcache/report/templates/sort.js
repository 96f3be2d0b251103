for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => {
  const head = button.closest("th"), body = head.closest("table").tBodies[0], column = head.cellIndex;
  const sorted = head.getAttribute("aria-sort"), good = head.dataset.good;
  const rising = sorted ? sorted === "descending" : good !== "high";
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", rising ? "ascending" : "descending");
  const value = row => row.cells[column].dataset.value ?? row.cells[column].textContent.replace("–", "");
  const compare = (a, b) => good ? parseFloat(a) - parseFloat(b) : a.localeCompare(b, undefined, {numeric: true});
  body.append(...[...body.rows].sort((a, b) => (value(a) === "") - (value(b) === "")
    || (rising ? 1 : -1) * compare(value(a), value(b))));
});
