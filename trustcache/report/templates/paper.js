// The figures of the exhibits, each drawn when what holds it is opened.
let drawings;

async function drawExhibit(details) {
  for (const holder of all(".chart", details)) {
    if (holder.dataset.drawn) continue;
    holder.dataset.drawn = true;
    drawings ??= unpacked("figures").then(JSON.parse);
    await charting();
    await vegaEmbed(holder, (await drawings)[+holder.dataset.figure], quiet);
  }
}

// A link to an exhibit opens it.
function follow() {
  const linked = $(location.hash.slice(1));
  if (linked?.tagName !== "DETAILS") return;
  linked.open = true;
  linked.scrollIntoView();
}

listenToSorting();
for (const details of all("details")) details.addEventListener("toggle", () => details.open && drawExhibit(details));
for (const button of all("[data-save]")) button.addEventListener("click", async () => {
  drawings ??= unpacked("figures").then(JSON.parse);
  save(button.dataset.name, button.dataset.save, (await drawings)[+button.dataset.figure]);
});
addEventListener("beforeprint", () => { for (const details of all("details")) details.open = true; });
addEventListener("hashchange", follow);
follow();
document.documentElement.classList.add("live");
