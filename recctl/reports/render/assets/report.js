// Draws every figure in the colors of the style sheet, and redraws them when the color scheme changes.
(() => {
  "use strict";
  const root = document.documentElement;

  // Replaces "@name" by the value of the style sheet's --c-name wherever plotly expects a color.
  function resolveColors(value, css, isColor) {
    if (typeof value === "string") {
      return isColor && value.startsWith("@") ? css.getPropertyValue("--c-" + value.slice(1)).trim() : value;
    }
    if (Array.isArray(value)) return value.map((item) => resolveColors(item, css, isColor));
    if (value === null || typeof value !== "object") return value;
    const resolved = {};
    for (const [key, item] of Object.entries(value)) {
      resolved[key] = resolveColors(item, css, key !== "colorbar" && (isColor || /color/i.test(key)));
    }
    return resolved;
  }

  function mergeDeep(defaults, overrides) {
    const merged = { ...defaults };
    for (const [key, value] of Object.entries(overrides)) {
      const isNested = value && defaults[key] && typeof value === "object" && !Array.isArray(value);
      merged[key] = isNested ? mergeDeep(defaults[key], value) : value;
    }
    return merged;
  }

  const axisDefaults = { gridcolor: "@grid", linecolor: "@line", zerolinecolor: "@line", automargin: true,
    ticks: "outside", tickcolor: "@line", ticklen: 4, title: { standoff: 10, font: { size: 13 } } };
  const layoutDefaults = {
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
    for (const target of document.querySelectorAll("div.plot")) {
      const plot = JSON.parse(target.nextElementSibling.textContent);
      const layout = mergeDeep(layoutDefaults, plot.layout);
      for (const key of Object.keys(layout)) {
        if (/^[xy]axis/.test(key)) layout[key] = mergeDeep(axisDefaults, layout[key]);
      }
      Plotly.react(target, resolveColors(plot.data, css, false), resolveColors(layout, css, false), config);
    }
  }

  // Paper has the light colors, and every <details> element open.
  function preparePrint(isPrinting) {
    root.classList.toggle("paper", isPrinting);
    for (const details of document.querySelectorAll("details")) {
      if (isPrinting && !details.open) {
        details.dataset.closed = "";
        details.open = true;
      } else if (!isPrinting && "closed" in details.dataset) {
        details.open = false;
        delete details.dataset.closed;
      }
    }
    drawAll();
  }

  drawAll();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  addEventListener("beforeprint", () => preparePrint(true));
  addEventListener("afterprint", () => preparePrint(false));
})();
