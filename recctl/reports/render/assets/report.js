// Draws the figures of the page in the colours of its style sheet, and again when these change.
(() => {
  "use strict";
  const root = document.documentElement;

  function coloured(value, css, isColour) {
    if (typeof value === "string") {
      return isColour && value.startsWith("@") ? css.getPropertyValue("--c-" + value.slice(1)).trim() : value;
    }
    if (Array.isArray(value)) return value.map((inner) => coloured(inner, css, isColour));
    if (value === null || typeof value !== "object") return value;
    const found = {};
    for (const [key, inner] of Object.entries(value)) {
      found[key] = coloured(inner, css, key !== "colorbar" && (isColour || /color/i.test(key)));
    }
    return found;
  }

  function merged(base, own) {
    const found = { ...base };
    for (const [key, value] of Object.entries(own)) {
      const both = value && base[key] && typeof value === "object" && !Array.isArray(value);
      found[key] = both ? merged(base[key], value) : value;
    }
    return found;
  }

  const axis = { gridcolor: "@grid", linecolor: "@line", zerolinecolor: "@line", automargin: true, ticks: "outside",
    tickcolor: "@line", ticklen: 4, title: { standoff: 10, font: { size: 13 } } };
  const base = {
    font: { family: "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif", size: 13,
      color: "@text" },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 8, r: 16, t: 12, b: 8 },
    legend: { orientation: "h", x: 0, xanchor: "left", y: 1.02, yanchor: "bottom" },
    hoverlabel: { bgcolor: "@paper", bordercolor: "@line", font: { color: "@text" } },
    modebar: { color: "@muted", activecolor: "@text", bgcolor: "rgba(0,0,0,0)" },
    dragmode: false,
  };
  const config = { responsive: true, displaylogo: false, displayModeBar: false };

  function drawAll() {
    const css = getComputedStyle(root);
    for (const place of document.querySelectorAll("div.plot")) {
      const plot = JSON.parse(place.nextElementSibling.textContent);
      const layout = merged(base, plot.layout);
      for (const key of Object.keys(layout)) if (/^[xy]axis/.test(key)) layout[key] = merged(axis, layout[key]);
      Plotly.react(place, coloured(plot.data, css, false), coloured(layout, css, false), config);
    }
  }

  const folds = () => document.querySelectorAll("details");
  function onPaper(printing) {
    root.classList.toggle("paper", printing);
    for (const fold of folds()) {
      if (printing && !fold.open) fold.dataset.closed = "";
      if (printing) fold.open = true;
      else if ("closed" in fold.dataset) { fold.open = false; delete fold.dataset.closed; }
    }
    drawAll();
  }

  drawAll();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  addEventListener("beforeprint", () => onPaper(true));
  addEventListener("afterprint", () => onPaper(false));
})();
