/* A zoom lives as long as its picture, though the figure's own range moves with a knob: plotly's uirevision gives up
   what the server changed since. A double click, another title or other axes end it. */
(() => {
  "use strict";
  const AXES = ["xaxis", "yaxis"];

  studio.zoom = (again) => {
    let kept = {}, of = "", back = false;
    return {
      /* the layout with what the visitor zoomed to */
      on: (layout, title) => {
        const now = [title, ...AXES.map((axis) => layout[axis]?.title?.text)].join("\n");
        if (now !== of) kept = {};
        of = now;
        const own = AXES.filter((axis) => layout[axis]).map((axis) => [axis, { ...layout[axis], uirevision: performance.now(), range: kept[axis] ?? layout[axis].range }]);
        return { ...layout, ...Object.fromEntries(own) };
      },
      watch: (box) => {
        box.on("plotly_doubleclick", () => { back = true; });
        box.on("plotly_relayout", (change) => {
          for (const axis of AXES) if (Object.keys(change).some((key) => key.startsWith(axis + ".range"))) kept[axis] = [...box._fullLayout[axis].range];
          if (back) { back = false; kept = {}; again(); }
        });
      },
    };
  };
})();
