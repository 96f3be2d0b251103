// What both pages need: parts that come packed, Vega-Lite once something is drawn, and figures as files.
const $ = id => document.getElementById(id);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

async function unpacked(id) {
  const bytes = Uint8Array.from(atob($(id).textContent), letter => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).text();
}

let library;
function charting() {
  library ??= unpacked("library").then(text => {
    const script = document.createElement("script");
    script.textContent = text;
    document.head.append(script);
  });
  return library;
}

// Expressions are interpreted, never compiled, as the page's policy asks.
const quiet = { actions: false, ast: true, renderer: "svg", tooltip: false };

const sized = (config, spec, rows, height, now) => ({
  ...spec, width: "container", height, autosize: { type: "fit", contains: "padding" }, config, datasets: { rows, now },
});

// A figure as a file: drawn again, black on white, whatever the colours of the page.
async function save(name, kind, spec) {
  let data;
  if (kind === "csv") {
    const rows = spec.datasets.rows, keys = [...new Set(rows.flatMap(Object.keys))].filter(key => !["i", "dot"].includes(key));
    const cell = value => /[",\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : value ?? "";
    data = new Blob([[keys, ...rows.map(row => keys.map(key => row[key]))].map(line => line.map(cell).join(",")).join("\n")]);
  } else {
    await charting();
    const { view } = await vegaEmbed(document.createElement("div"), { ...spec, width: 480, background: "white" }, quiet);
    if (kind === "svg") data = new Blob([(await view.toSVG()).replaceAll("currentColor", "#000")]);
    else data = await view.toCanvas(3).then(canvas => new Promise(done => canvas.toBlob(done)));
    view.finalize();
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(data);
  link.download = `${name}.${kind}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
