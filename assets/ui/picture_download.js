/* Downloads of a figure: SVG or PNG with title, sentence, recipe and version, and its numbers as CSV. */
(() => {
  "use strict";
  const PAD = 16, LINE = 19; /* px */

  function wrap(text, most) {
    const lines = [""];
    for (const word of text.split(/\s+/)) {
      const line = lines.at(-1);
      if (line && line.length + word.length + 1 > most) lines.push(word); else lines[lines.length - 1] = line ? `${line} ${word}` : word;
    }
    return lines;
  }
  const escape = (text) => text.replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);

  /* lines that no label in the picture names get a legend */
  function unnamed(data, notes) {
    const said = notes.map((note) => studio.plain(note.text)).join("\n");
    const names = [...new Set(data.filter((trace) => trace.name && trace.hoverinfo !== "skip").map((trace) => trace.name))];
    return names.length > 1 && names.some((name) => !said.includes(studio.plain(name)));
  }

  studio.takeHome = (state, kind) => {
    const filename = ["esm_viz", state.name, state.recipe].filter(Boolean).join("-");
    if (kind === "csv") {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([studio.csv(state.now.figure)], { type: "text/csv" }));
      link.download = filename + ".csv";
      link.click();
      return setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    }
    const { data, layout } = state.painted, margin = layout.margin, style = getComputedStyle(document.body);
    const colour = (name) => style.getPropertyValue("--" + name).trim();
    const how = wrap(state.how.textContent, Math.floor((layout.width - 2 * PAD) / 7));
    const head = 34 + LINE * how.length + 6, foot = 24, legend = unnamed(data, layout.annotations ?? []) && !layout.showlegend;
    const more = legend ? LINE + 8 : 0, seen = new Set();
    const line = (text, y, size, ink, from) => ({ text, x: 0, y: from, xref: "paper", yref: "paper", xanchor: "left", yanchor: from ? "bottom" : "top", align: "left", xshift: PAD - margin.l, yshift: y, showarrow: false, font: { size, color: colour(ink) } });
    const notes = [
      line(`<b>${escape(state.title.textContent)}</b>`, margin.t + head - 32, 17, "ink", 1),
      line(how.map(escape).join("<br>"), margin.t + 4, 13, "ink-2", 1),
      line(escape(state.stamp), -(margin.b + more), 12, "ink-3", 0),
    ];
    const whole = {
      ...layout, height: layout.height + head + foot + more, paper_bgcolor: colour("panel"),
      margin: { ...margin, t: margin.t + head, b: margin.b + foot + more }, annotations: [...(layout.annotations ?? []), ...notes],
      ...(legend ? { showlegend: true, legend: { orientation: "h", x: 0, y: 0, yref: "container", yanchor: "bottom", xanchor: "left", font: { size: 13, color: colour("ink-2") } } } : {}),
    };
    const shown = data.map((trace) => (legend ? { ...trace, showlegend: Boolean(trace.name) && trace.hoverinfo !== "skip" && !seen.has(trace.name) && Boolean(seen.add(trace.name)) } : trace));
    return Plotly.downloadImage({ data: shown, layout: whole }, { format: kind, filename, width: whole.width, height: whole.height, scale: 2 });
  };
})();
