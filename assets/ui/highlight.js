/* Hovering or focusing a task in one picture, table row or legend keeps it in all pictures; the others drop to a quarter.
   Rows get a veil, traces and names a class: nothing is drawn anew, and nothing is done while no task is pointed at. */
(() => {
  "use strict";
  const PAUSE = 90; /* ms: crossing a picture on the way elsewhere changes nothing */
  let lit = [], timer = 0;

  const figures = () => [...document.querySelectorAll(".fig.js-plotly-plot")].filter((box) => box.clientWidth);
  const among = (tasks) => tasks.some((task) => lit.includes(task));

  /* the stretches of 0 … count that are not kept, in pixels of an axis, from `low` to `high` */
  function rest(axis, count, kept, low, high) {
    const spans = [];
    let start = low;
    for (let at = 0; at < count; at++) {
      if (!kept(at)) continue;
      const ends = [axis.d2p(at - 0.5), axis.d2p(at + 0.5)].map((p) => axis._offset + p).sort((a, b) => a - b);
      if (ends[0] > start) spans.push([start, ends[0]]);
      start = ends[1];
    }
    if (high > start) spans.push([start, high]);
    return spans;
  }

  function veil(box, meta) {
    const { xaxis, yaxis } = box._fullLayout, rows = meta.rows, kept = (at) => lit.includes(rows[at]);
    const right = box.querySelector(".colorbar") ? xaxis._offset + xaxis._length + 2 : box.clientWidth;
    const edges = [yaxis.d2p(-0.5), yaxis.d2p(rows.length - 0.5)].map((p) => yaxis._offset + p);
    const shade = ([top, foot], across) => across.map(([from, to]) => `M${from} ${top}H${to}V${foot}H${from}Z`).join("");
    if (!meta.square) return rest(yaxis, rows.length, kept, ...edges).map((span) => shade(span, [[0, right]])).join("");
    /* below the diagonal a task has a column too */
    const ends = (at) => [at - 0.5, at + 0.5].map((y) => yaxis._offset + yaxis.d2p(y));
    return rows.map((_, row) => (kept(row) ? "" : shade(ends(row), rest(xaxis, row, kept, 0, right)))).join("");
  }

  /* shade one picture; the card calls it after each repaint */
  function shade(box) {
    const meta = box.layout?.meta ?? {}, path = box.parentElement.querySelector(".over .veil");
    path?.setAttribute("d", lit.length && meta.rows ? veil(box, meta) : "");
    box._fullData?.forEach((trace) => {
      if (trace.meta?.tasks) box.querySelector(`.scatterlayer .trace[class*="${trace.uid}"]`)?.classList.toggle("dim", lit.length > 0 && !among(trace.meta.tasks));
    });
    box.layout?.annotations?.forEach((note, at) => {
      if (note.name) box.querySelector(`.annotation[data-index="${at}"]`)?.classList.toggle("dim", lit.length > 0 && !among([note.name]));
    });
  }

  function now(tasks) {
    clearTimeout(timer);
    if (tasks.join("\n") === lit.join("\n")) return;
    lit = tasks;
    figures().forEach(shade);
    document.querySelectorAll("[data-task]").forEach((row) => row.classList.toggle("lit", lit.includes(row.dataset.task)));
  }

  const light = (tasks) => { clearTimeout(timer); timer = setTimeout(now, PAUSE, tasks); };

  /* whose row of a picture the mouse is in; of a square of tasks, whose cell */
  function under(box, event) {
    const meta = box.layout?.meta, { xaxis, yaxis } = box._fullLayout ?? {};
    if (!meta?.rows || !yaxis) return null;
    const place = box.getBoundingClientRect(), top = event.clientY - place.top - yaxis._offset, left = event.clientX - place.left - xaxis._offset;
    const row = Math.round(yaxis.p2d(top)), column = Math.round(xaxis.p2d(left));
    if (top < 0 || top > yaxis._length || !(row in meta.rows)) return [];
    return meta.square && left > 0 && column < row && column in meta.rows ? [meta.rows[row], meta.rows[column]] : [meta.rows[row]];
  }

  /* whose a point is */
  const owners = (box, curve, y, data) => {
    const meta = box.layout.meta ?? {};
    return box.data[curve].meta?.tasks ?? (meta.square ? data : meta.rows?.[y] !== undefined ? [meta.rows[y]] : []);
  };

  /* a new picture: what in it points at a task */
  const watch = (box) => {
    box.addEventListener("mousemove", (event) => { const tasks = event.buttons ? null : under(box, event); if (tasks) light(tasks); });
    box.addEventListener("mouseleave", () => light([]));
    box.on("plotly_hover", (event) => { const point = event.points?.[0]; if (point && !box.layout.meta?.rows) light(owners(box, point.curveNumber, point.y, point.customdata)); });
    box.on("plotly_unhover", () => { if (!box.layout.meta?.rows) light([]); });
  };

  const source = (event) => event.target.closest?.("[data-task]");
  for (const [into, out] of [["mouseover", "mouseout"], ["focusin", "focusout"]]) {
    document.addEventListener(into, (event) => { const row = source(event); if (row) light([row.dataset.task]); });
    document.addEventListener(out, (event) => { if (source(event)) light([]); });
  }
  studio.highlight = { light, shade, watch, owners, active: () => lit };
})();
