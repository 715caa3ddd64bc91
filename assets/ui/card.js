/* A card: title, switch, one sentence, one plotly picture that is repainted in place (Plotly.react), numbers to take home. */
(() => {
  "use strict";
  const DOWN = '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M8 2.5v8M4.800 7.500L8 10.700l3.200-3.200M3 13.500h10"/></svg>';
  const FRAME = `<section class="card"><div class="ch"><h2></h2><div class="right"><span class="chip stale-chip" hidden></span>
    <span class="seg" role="radiogroup"></span><details class="take"><summary class="btn q sq" aria-label="Download figure or numbers"
    title="SVG, PNG, CSV">${DOWN}</summary><div class="menu"><button data-as="svg">SVG</button><button data-as="png">PNG</button>
    <button data-as="csv">CSV</button></div></details></div></div><p class="how"></p><div class="controls" hidden></div><div class="body"><div class="fig" role="img" tabindex="0"></div>
    <div class="message" role="status" hidden></div></div></section>`;

  const part = (element, name) => element.querySelector(name);
  const wide = () => innerWidth >= 1400;

  const picked = (data) => (Array.isArray(data) ? data.slice(0, 2) : data);

  function cells(figure) {
    const found = [];
    for (const trace of figure?.data ?? []) {
      if (trace.type !== "heatmap" || !trace.customdata) continue;
      trace.y.forEach((y, j) => trace.x.forEach((x, i) => { if (trace.z[j][i] != null) found.push({ x, y, data: trace.customdata[j][i] }); }));
    }
    return found;
  }

  /* arrows move the selection to the nearest cell in that direction */
  function neighbour(figure, key) {
    const [dx, dy] = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[key];
    const frame = figure.layout.shapes?.[1], all = cells(figure);
    if (!frame) return all[0];
    const x = (frame.x0 + frame.x1) / 2, y = (frame.y0 + frame.y1) / 2;
    const ahead = (c) => (c.x - x) * dx + (c.y - y) * dy;
    const aside = (c) => Math.abs((c.x - x) * dy) + Math.abs((c.y - y) * dx);
    return all.filter((c) => ahead(c) > 0.5 && aside(c) < 0.5).sort((a, b) => ahead(a) - ahead(b))[0];
  }

  function table(figure) {
    const rows = [["series", "at", "y", "value"]];
    const cell = (value) => (/[",\n]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
    for (const trace of figure.data) {
      if (trace.type === "heatmap") trace.y.forEach((y, j) => trace.x.forEach((x, i) => {
        const [first, second, number] = trace.customdata?.[j][i] ?? [x, y];
        if (trace.z[j][i] != null) rows.push([first, second, "", number ?? trace.z[j][i]]);
      }));
      else if (trace.hoverinfo !== "skip") trace.x.forEach((x, i) => rows.push([trace.name ?? trace.customdata?.[i] ?? "", x, trace.y[i], ""]));
    }
    return rows.map((row) => row.map(cell).join(",")).join("\n");
  }

  function save(state, kind) {
    const name = "esm_viz-" + state.name, { data, layout } = state.painted;
    if (kind === "csv") {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([table(state.now.figure)], { type: "text/csv" }));
      link.download = name + ".csv";
      link.click();
      return setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    }
    const panel = getComputedStyle(document.body).getPropertyValue("--panel").trim();
    const title = { text: `<b>${state.title.textContent}</b><br><sup>${state.how.textContent}</sup>`, x: 0.02, xanchor: "left" };
    const more = { ...layout, title, paper_bgcolor: panel, height: layout.height + 60, margin: { ...layout.margin, t: layout.margin.t + 60 } };
    return Plotly.downloadImage({ data, layout: more }, { format: kind, filename: name, width: layout.width, height: layout.height + 60, scale: 2 });
  }

  function fit(trace, box) {
    if (!trace.meta?.levels) return trace;
    const [columns, rows] = trace.meta.grid;
    const longest = Math.max(...trace.text.map((text) => text.length));
    const room = box.width / columns >= 7 * longest + 3 && box.height / rows >= 14;
    return { ...trace, visible: room, textfont: { ...trace.textfont, color: studio.contrast(trace.meta.levels) } };
  }

  function draw(state) {
    const { figure } = state.now, box = state.fig;
    if (!figure || !box.clientWidth || !box.clientHeight) return;
    const clean = studio.resolve(figure, wide()), margin = clean.layout.margin;
    const [columns, rows] = clean.layout.meta?.grid ?? [0, 0]; /* beyond what fits, the card scrolls, never the page */
    box.style.minWidth = columns ? `${6.5 * columns + margin.l + margin.r}px` : "";
    box.style.minHeight = rows ? `${15 * rows + margin.t + margin.b}px` : "";
    const room = { width: box.clientWidth - margin.l - margin.r, height: box.clientHeight - margin.t - margin.b };
    const data = clean.data.map((trace) => fit(trace, room));
    const layout = { ...clean.layout, width: box.clientWidth, height: box.clientHeight, autosize: false };
    state.painted = { data, layout };
    const first = !box.classList.contains("js-plotly-plot");
    Plotly.react(box, data, layout, { displayModeBar: false, responsive: false }).then(() => {
      state.card.dataset.v = state.now.v;
      studio.painted[state.name] = { v: state.now.v, at: performance.now(), stale: Boolean(state.now.stale) };
    });
    if (first) box.on("plotly_click", (event) => {
      const data = event.points?.[0]?.customdata;
      if (data != null && state.now.picks) state.trigger("act", { do: state.now.picks, data: picked(data) });
    });
  }

  function dress(state) {
    const { now, card } = state;
    state.title.innerHTML = now.title ?? "";
    const meta = now.figure?.layout?.meta ?? {};
    state.how.textContent = now.how ?? meta.how ?? "";
    state.fig.setAttribute("aria-label", [state.how.textContent, meta.says].filter(Boolean).join(" "));
    const choices = now.choices ?? [], key = JSON.stringify([choices, now.chosen]);
    if (state.seg.dataset.key !== key) {
      state.seg.dataset.key = key;
      state.seg.hidden = !choices.length;
      state.seg.setAttribute("aria-label", "What to show: " + state.title.textContent);
      state.seg.replaceChildren(...choices.map(([value, label]) => {
        const button = document.createElement("button");
        button.textContent = label;
        button.setAttribute("role", "radio");
        button.setAttribute("aria-checked", String(value === now.chosen));
        button.className = value === now.chosen ? "on" : "";
        button.onclick = () => state.trigger("act", { do: now.switch, value });
        return button;
      }));
    }
    state.controls.hidden = !now.controls;
    studio.fill(state.controls, now.controls ?? "");
    const text = now.error || now.empty || "";
    state.message.hidden = !text;
    state.message.className = "message" + (now.error ? " bad" : "");
    state.message.textContent = text;
    state.fig.hidden = Boolean(now.empty) && !now.figure;
    part(card, ".take").hidden = !now.figure;
    clearTimeout(state.later);
    const show = () => { card.classList.toggle("stale", Boolean(now.stale)); state.chip.hidden = !now.stale; state.chip.textContent = now.stale || ""; };
    if (now.stale) state.later = setTimeout(show, 300); else show();
  }

  studio.card = (element, props, trigger, watch, event, name) => {
    element.innerHTML = FRAME;
    const card = part(element, ".card");
    const state = {
      card, trigger, name, now: {}, title: part(card, "h2"), how: part(card, ".how"), fig: part(card, ".fig"),
      seg: part(card, ".seg"), chip: part(card, ".stale-chip"), message: part(card, ".message"),
      controls: part(card, ".controls"),
    };
    studio.delegate(state.controls, trigger);
    card.dataset.card = name;
    const again = () => requestAnimationFrame(() => draw(state));
    studio.follow(props, watch, (next) => {
      state.now = next;
      dress(state);
      if (state.painted) draw(state); else studio.inTurn(() => { if (!state.painted) draw(state); });
    });
    new ResizeObserver(again).observe(state.fig);
    studio.onTheme(again);
    document.fonts?.ready.then(again);
    part(card, ".menu").addEventListener("click", (event) => {
      const kind = event.target.dataset.as;
      if (kind) { save(state, kind); part(card, ".take").open = false; }
    });
    state.fig.addEventListener("keydown", (event) => {
      if (!event.key.startsWith("Arrow") || !state.now.picks || !cells(state.now.figure).length) return;
      const to = neighbour(state.now.figure, event.key);
      event.preventDefault();
      if (to) trigger("act", { do: state.now.picks, data: picked(to.data) });
    });
  };
})();
