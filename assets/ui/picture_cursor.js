/* Arrow keys in a figure: they move a frame from mark to mark, its value is shown and read out; Enter clicks it. */
(() => {
  "use strict";
  const CALM = 120; /* ms after the last key, then the mark is read out */
  const STEPS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };

  /* every mark that has something to say, in pixels of the picture */
  function spots(box) {
    const { xaxis, yaxis } = box._fullLayout, found = [];
    const add = (curve, point, x, y, data, size) => found.push({ curve, point, data, size, place: { xval: x, yval: y }, x: xaxis._offset + xaxis.d2p(x), y: yaxis._offset + yaxis.d2p(y) });
    const step = (axis, values) => (values.length > 1 ? Math.abs(axis.d2p(values[1]) - axis.d2p(values[0])) : Math.abs(axis.d2p(1) - axis.d2p(0)));
    box.data.forEach((trace, curve) => {
      if (trace.hoverinfo === "skip" || trace.mode === "text" || !trace.x) return;
      if (trace.type !== "heatmap") return trace.x.forEach((x, i) => { if (x != null && trace.y[i] != null) add(curve, i, x, trace.y[i], trace.customdata?.[i]); });
      const cells = studio.cells(trace), size = [step(xaxis, trace.x), step(yaxis, trace.y)];
      const edged = cells.x.length < trace.x.length, span = (axis, edges, at) => Math.abs(axis.d2p(edges[at + 1]) - axis.d2p(edges[at]));
      cells.y.forEach((y, j) => cells.x.forEach((x, i) => {
        const own = edged ? [span(xaxis, trace.x, i), span(yaxis, trace.y, j)] : size;
        if (trace.z[j][i] != null) add(curve, [j, i], x, y, trace.customdata?.[j][i], own);
      }));
    });
    return found;
  }

  /* where the arrows start: at what is selected */
  function start(box, all) {
    const frame = box.layout.shapes?.[1], { xaxis, yaxis } = box._fullLayout;
    if (frame?.type !== "rect") return all[0];
    const x = xaxis._offset + xaxis.d2p((frame.x0 + frame.x1) / 2), y = yaxis._offset + yaxis.d2p((frame.y0 + frame.y1) / 2);
    return all.reduce((best, spot) => (Math.hypot(spot.x - x, spot.y - y) < Math.hypot(best.x - x, best.y - y) ? spot : best));
  }

  /* cells go in rows and columns, along a line points go in order, else to the nearest mark in that direction */
  function next(box, all, from, [dx, dy]) {
    const trace = box.data[from.curve], line = /lines/.test(trace.mode) || trace.type === "bar";
    const ahead = (s) => (s.x - from.x) * dx + (s.y - from.y) * dy, aside = (s) => Math.abs((s.x - from.x) * dy) + Math.abs((s.y - from.y) * dx);
    const near = all.filter((s) => {
      if (ahead(s) < 0.5) return false;
      if (from.size) return aside(s) < 2;
      return line && dx ? s.curve === from.curve : aside(s) <= 1.5 * ahead(s);
    });
    const far = (s) => ahead(s) + (line && dx ? 0 : 2 * aside(s));
    return near.length ? near.reduce((best, s) => (far(s) < far(best) ? s : best)) : from;
  }

  /* what the label at the mark says */
  const said = (box) => [...box.querySelectorAll(".hoverlayer .hovertext text")]
    .map((text) => [...text.querySelectorAll("tspan.line")].map((line) => line.textContent).join(", ") || text.textContent).filter(Boolean).join(", ");

  studio.cursor = (box, live, pick) => {
    let at = null, later = 0;
    const frame = () => box.parentElement.querySelector(".over .cursor");
    const same = (spot) => spot.curve === at.curve && String(spot.point) === String(at.point);
    const mark = () => {
      const [w, h] = at.size ?? [16, 16];
      Object.entries({ x: at.x - w / 2, y: at.y - h / 2, width: w, height: h, rx: at.size ? 0 : 8 }).forEach(([key, value]) => frame().setAttribute(key, value));
      frame().style.display = "inline";
      Plotly.Fx.hover(box, at.place);
    };
    const leave = () => {
      if (!at) return;
      at = null;
      frame().style.display = "none";
      live.textContent = "";
      Plotly.Fx.unhover(box);
      studio.highlight.light([]);
    };
    box.addEventListener("blur", leave);
    box.addEventListener("keydown", (event) => {
      if (event.target !== box || !box.data) return;
      if (event.key in STEPS) {
        const all = spots(box);
        if (!all.length) return;
        event.preventDefault();
        const known = at && all.find(same);
        at = known ? next(box, all, known, STEPS[event.key]) : start(box, all);
        mark();
        clearTimeout(later);
        later = setTimeout(() => { live.textContent = said(box); }, CALM);
        studio.highlight.light(studio.highlight.owners(box, at.curve, at.place.yval, at.data));
      } else if ((event.key === "Enter" || event.key === " ") && at?.data != null) {
        event.preventDefault();
        pick(at.data);
      } else if (event.key === "Escape" && at) {
        event.stopPropagation();
        leave();
      }
    });
    /* after a repaint the frame stands where its mark stands now */
    return () => {
      if (!at) return;
      at = spots(box).find(same) ?? null;
      if (at) mark(); else frame().style.display = "none";
    };
  };
})();
