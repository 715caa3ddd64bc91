/* The numbers of a picture as a table, the same on screen and as CSV. */
(() => {
  "use strict";
  const plain = (html) => new DOMParser().parseFromString(String(html ?? ""), "text/html").body.textContent.trim();

  /* the middles of a heat map's cells, which are given by their middles or by their edges */
  const middles = (places, count) => (places.length > count ? places.slice(1).map((edge, at) => (edge + places[at]) / 2) : places);
  studio.cells = ({ x, y, z }) => ({ x: middles(x, z[0].length), y: middles(y, z.length) });

  /* heat map cells: their labels and values, which may differ from the values of the colours */
  function ofCells({ layout }, trace) {
    const head = layout.meta.names ?? [plain(layout.xaxis.title?.text) || "column", plain(layout.yaxis.title?.text) || "row", "value"];
    const rows = [];
    const cells = studio.cells(trace);
    cells.y.forEach((y, j) => cells.x.forEach((x, i) => {
      if (trace.z[j][i] == null) return;
      const data = trace.customdata?.[j][i] ?? [x, y], labels = layout.meta.labels ?? {}, own = data.length < head.length ? trace.z[j][i] : data.at(-1);
      rows.push([...data.slice(0, head.length - 1).map((word) => labels[word] ?? word), trace.meta?.values?.[j][i] ?? own]);
    }));
    return { head, rows };
  }

  const word = (axis, value) => { const at = axis?.ticktext ? (axis.tickvals ?? []).indexOf(value) : -1; return at < 0 ? value : plain(axis.ticktext[at]); };

  /* points, lines and bars: whose or which series, place, value, and its interval where there is one */
  function ofPoints({ layout }, traces) {
    const names = layout.meta.names ?? [], several = !names.length && new Set(traces.map((trace) => trace.name)).size > 1;
    const error = traces.some((trace) => trace.error_y?.array);
    const titles = [plain(layout.xaxis?.title?.text) || "x", plain(layout.yaxis?.title?.text) || "y"];
    const head = [...names, ...(several ? ["series"] : []), ...titles, ...(error ? ["from", "to"] : [])];
    const rows = traces.flatMap((trace) => Array.from(trace.x, (x, i) => {
      const y = trace.y[i], bars = trace.error_y;
      const ends = bars?.array ? [y - (bars.arrayminus ?? bars.array)[i], y + bars.array[i]] : [null, null];
      const place = [word(layout.xaxis, x), trace.orientation === "h" ? word(layout.yaxis, y) : y];
      return [...(names.length ? names.map((_, at) => layout.meta.labels?.[trace.customdata?.[i]?.[at]] ?? trace.customdata?.[i]?.[at]) : several ? [plain(trace.name)] : []), ...place, ...(error ? ends : [])];
    }));
    return { head, rows };
  }

  /* a figure's own table, else what its traces say: { head, rows } */
  studio.numbers = (figure) => {
    const { data, layout } = figure, own = layout.meta?.table;
    if (own) return { head: own[0], rows: own.slice(1) };
    const cells = data.filter((trace) => trace.type === "heatmap").map((trace) => ofCells(figure, trace));
    if (cells.length) return { head: cells[0].head, rows: cells.flatMap((part) => part.rows) };
    return ofPoints(figure, data.filter((trace) => trace.hoverinfo !== "skip" && trace.mode !== "text" && trace.x && trace.y));
  };

  /* a text that a spreadsheet would take for a formula is marked as text */
  const field = (value) => {
    const text = typeof value === "string" && /^[=+@\t\r-]/.test(value) ? "'" + value : String(value ?? "");
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  studio.csv = (figure) => {
    const { head, rows } = studio.numbers(figure);
    return [head, ...rows].map((row) => row.map(field).join(",")).join("\n") + "\n";
  };

  const shown = (value) => (value == null ? "–" : typeof value === "number" ? String(Number(value.toPrecision(4))).replace("-", "−") : value);
  studio.numbersTable = (figure, title) => {
    const { head, rows } = studio.numbers(figure), table = document.createElement("table");
    const line = (values, tag) => {
      const row = document.createElement("tr");
      values.forEach((value, at) => {
        const cell = document.createElement(at || tag === "th" ? tag : "th");
        cell.textContent = tag === "th" ? value : shown(value);
        if (cell.tagName === "TH") cell.scope = tag === "th" ? "col" : "row";
        if (typeof rows[0]?.[at] === "number") cell.className = "r";
        row.append(cell);
      });
      return row;
    };
    table.createCaption().textContent = title;
    table.createTHead().append(line(head, "th"));
    table.createTBody().append(...rows.map((row) => line(row, "td")));
    return table;
  };
  studio.plain = plain;
})();
