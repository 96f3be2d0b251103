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

listenToSorting();
for (const details of all("details")) details.addEventListener("toggle", () => details.open && drawExhibit(details));
for (const button of all("[data-save]")) button.addEventListener("click", async () => {
  drawings ??= unpacked("figures").then(JSON.parse);
  save(button.dataset.name, button.dataset.save, (await drawings)[+button.dataset.figure]);
});
addEventListener("beforeprint", () => { for (const details of all("details")) details.open = true; });
document.documentElement.classList.add("live");
