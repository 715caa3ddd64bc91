/* A card: title, switch, one sentence, one plotly figure that is updated in place (Plotly.react), downloads. */
(() => {
  "use strict";
  const icon = (path) => `<svg viewBox="0 0 16 16" aria-hidden="true"><path d="${path}"/></svg>`;
  const DOWN = icon("M8 2.5v8M4.800 7.500L8 10.700l3.200-3.200M3 13.500h10"), FILL = icon("M2.500 6V2.500H6M10 2.500h3.500V6M13.500 10v3.500H10M6 13.500H2.500V10");
  const FRAME = `<section class="card"><div class="ch"><h2></h2><div class="right"><span class="chip stale-chip" hidden></span>
    <span class="seg" role="radiogroup"></span><span class="tools"><button class="btn q sq fill" aria-pressed="false" aria-label="Fill the screen" title="Fill the screen (F)">${FILL}</button>
    <details class="take"><summary class="btn q sq" aria-label="Download figure or numbers" title="Numbers (T), SVG, PNG, CSV">${DOWN}</summary><div class="menu">
    <button data-as="numbers">Numbers</button><button data-as="svg">SVG</button><button data-as="png">PNG</button><button data-as="csv">CSV</button></div></details></span></div></div>
    <p class="how"></p><div class="controls" hidden></div><div class="slider" hidden></div><div class="body"><div class="fig" role="img" tabindex="0"></div>
    <svg class="over" aria-hidden="true"><g class="names"></g><path class="veil"/><rect class="cursor" style="display:none"/></svg><div class="numbers" role="region" tabindex="0" hidden></div>
    <div class="blocks" hidden>${"<i></i>".repeat(24)}</div><div class="message" role="status" hidden></div></div><div class="foot" hidden></div><p class="says"></p><p class="said" aria-live="polite"></p></section>`;

  const part = (element, name) => element.querySelector(name);
  const wide = () => innerWidth >= 1400;
  const picked = (data) => (Array.isArray(data) ? data.slice(0, 2) : data);

  function fit(trace, box) {
    if (!trace.meta?.levels) return trace;
    const [columns, rows] = trace.meta.grid;
    const longest = Math.max(...trace.text.map((text) => text.length)), scale = trace.textfont.size / 13;
    const fits = (across, down) => across * box.width >= (7 * longest + 3) * scale && down * box.height >= 14 * scale;
    const shares = trace.meta.shares; /* of the picture, where cells differ in size */
    if (shares) trace = { ...trace, text: trace.text.map((text, at) => (fits(...shares[at]) ? text : "")) };
    const room = Boolean(shares) || fits(1 / columns, 1 / rows);
    return { ...trace, visible: room, textfont: { ...trace.textfont, color: studio.contrast(trace.meta.levels) } };
  }

  /* a picture of this version stands on the screen */
  function done(state) {
    state.card.dataset.v = state.now.v;
    studio.painted[state.name] = { v: state.now.v, at: performance.now(), stale: Boolean(state.now.stale) };
  }

  const large = (state) => studio.present.card() === state.card || Boolean(studio.leads?.(state.card));
  const view = ({ now, fig, fonts, card }) => [JSON.stringify(now.figure), fig.clientWidth, fig.clientHeight, studio.dark(), large({ card }), wide(), fonts].join();

  /* draw what is new: another figure, size, theme or way of showing it; most of a knob's answers change few cards */
  function draw(state) {
    const { figure } = state.now, box = state.fig;
    if (!figure || !box.clientWidth || !box.clientHeight) return;
    if (state.drawn === view(state)) return done(state);
    const resolved = studio.resolve(figure, wide()), clean = large(state) ? studio.enlarge(resolved, studio.leads?.(state.card) && wide() ? 2 : 1.5) : resolved, margin = clean.layout.margin;
    const [columns, rows] = clean.layout.meta?.grid ?? [0, 0]; /* beyond what fits, the card scrolls, never the page */
    box.style.minWidth = columns ? `${6.5 * columns + margin.l + margin.r}px` : "";
    box.style.minHeight = rows ? `${15 * rows + margin.t + margin.b}px` : "";
    state.drawn = view(state);
    const room = { width: box.clientWidth - margin.l - margin.r, height: box.clientHeight - margin.t - margin.b };
    const data = clean.data.map((trace) => fit(trace, room));
    const layout = { ...state.zoom.on(clean.layout, state.title.textContent), width: box.clientWidth, height: box.clientHeight, autosize: false };
    state.painted = { data, layout };
    Object.assign(state.over.style, { width: `${box.clientWidth}px`, height: `${box.clientHeight}px` });
    const first = !box.classList.contains("js-plotly-plot");
    Plotly.react(box, data, layout, { displayModeBar: false, responsive: false }).then(() => {
      done(state);
      if (studio.highlight.active().length) studio.highlight.shade(box);
      state.follow();
      state.stick();
    });
    if (!first) return;
    studio.highlight.watch(box);
    state.zoom.watch(box);
    box.on("plotly_click", (event) => {
      const data = event.points?.[0]?.customdata;
      if (data != null) state.pick(data);
    });
  }

  function choose(state) {
    const { now } = state, choices = now.choices ?? [], key = JSON.stringify([choices, now.chosen]);
    if (state.seg.dataset.key === key) return;
    const held = state.seg.contains(document.activeElement);
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
    if (held) part(state.seg, ".on")?.focus({ preventScroll: true });
  }

  function dress(state) {
    const { now, card } = state;
    studio.fill(state.title, now.title ?? "");
    const meta = now.figure?.layout?.meta ?? {};
    state.how.textContent = now.how ?? meta.how ?? "";
    state.fig.setAttribute("aria-label", [state.how.textContent, meta.says].filter(Boolean).join(" ") || state.title.textContent || state.name);
    part(card, ".says").textContent = now.figure && !now.error ? now.says ?? meta.shown ?? meta.says ?? "" : "";
    choose(state);
    state.controls.hidden = !now.controls;
    studio.fill(state.controls, now.controls ?? "");
    state.foot.hidden = !now.foot;
    studio.fill(state.foot, now.foot ?? "");
    state.slide(now.slider);
    const text = now.error || now.empty || "";
    state.message.hidden = !text;
    state.message.className = "message" + (now.error ? " bad" : "");
    state.message.textContent = now.error ? `✕ ${text}` : text;
    state.fig.hidden = !now.figure || Boolean(now.error);
    part(card, ".blocks").hidden = Boolean(now.figure || text);
    part(card, ".tools").hidden = state.fig.hidden;
    if (!now.stale) { state.recipe = now.recipe; state.stamp = `esm_viz ${now.version}${now.recipe ? `, recipe ${now.recipe}` : ""}`; } /* an old picture keeps its own */
    if (!state.table.hidden) tell(state, !state.fig.hidden);
    clearTimeout(state.later);
    const show = () => { card.classList.toggle("stale", Boolean(now.stale)); state.chip.hidden = !now.stale; state.chip.textContent = now.stale || ""; };
    if (now.stale) state.later = setTimeout(show, 300); else show();
  }

  /* the numbers instead of the picture, or the picture again */
  function tell(state, on) {
    const held = state.card.contains(document.activeElement) && state.table.hidden === on, top = state.table.scrollTop;
    state.table.hidden = !on;
    state.card.classList.toggle("told", on);
    state.table.replaceChildren(...(on ? [studio.numbersTable(state.now.figure, state.title.textContent)] : []));
    state.table.setAttribute("aria-label", "Numbers: " + state.title.textContent);
    state.table.scrollTop = top;
    part(state.card, "[data-as=numbers]").textContent = on ? "Picture" : "Numbers";
    if (held) (on ? state.table : state.fig).focus({ preventScroll: true });
  }

  /* T and F in a card with a picture; Esc goes back one step */
  function keys(state, event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input:not([type=range]), select, textarea") || state.fig.hidden) return;
    if (event.key === "t") tell(state, state.table.hidden);
    else if (event.key === "f") studio.present(state.card);
    else if (event.key === "Escape" && !state.table.hidden) { tell(state, false); event.stopPropagation(); }
  }

  studio.card = (element, props, trigger, watch, event, name) => {
    element.innerHTML = FRAME;
    const card = part(element, ".card");
    const state = {
      card, trigger, name, now: {}, fonts: 0, title: part(card, "h2"), how: part(card, ".how"), fig: part(card, ".fig"), over: part(card, ".over"),
      seg: part(card, ".seg"), chip: part(card, ".stale-chip"), message: part(card, ".message"), controls: part(card, ".controls"), foot: part(card, ".foot"), table: part(card, ".numbers"),
      pick: (data) => { if (state.now.picks) trigger("act", { do: state.now.picks, data: picked(data) }); },
    };
    state.slide = studio.slider(part(card, ".slider"), trigger);
    state.stick = studio.sticky(state.fig);
    state.follow = studio.cursor(state.fig, part(card, ".said"), state.pick);
    studio.delegate(state.controls, trigger);
    studio.delegate(state.foot, trigger);
    card.dataset.card = name;
    const again = () => requestAnimationFrame(() => draw(state));
    state.zoom = studio.zoom(() => { state.drawn = ""; again(); });
    studio.follow(props, watch, (next) => {
      state.now = next;
      dress(state);
      if (state.painted) draw(state); else studio.inTurn(() => { if (!state.painted) draw(state); });
    });
    new ResizeObserver(again).observe(state.fig);
    studio.onTheme(again);
    document.fonts?.ready.then(() => { state.fonts = 1; again(); });
    part(card, ".fill").onclick = () => studio.present(card);
    part(card, ".menu").addEventListener("click", ({ target: { dataset } }) => {
      if (!dataset.as) return;
      part(card, ".take").open = false;
      if (dataset.as === "numbers") { state.fig.focus({ preventScroll: true }); tell(state, state.table.hidden); } else studio.takeHome(state, dataset.as);
    });
    card.addEventListener("keydown", (event) => keys(state, event));
  };
})();
