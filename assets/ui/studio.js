/* The studio's page side: style tokens, theme, and blocks of server-made HTML whose parts can be clicked.
   Every value that comes from the server is a JSON string with a version `v`; an older one never replaces a newer one. */
window.studio = (() => {
  "use strict";
  const PATIENCE = 5000; /* ms */
  const kept = { painted: {}, filled: new WeakMap(), known: false, local: {} }; /* local: what a control does without the server */
  const token = (name) => getComputedStyle(document.body).getPropertyValue("--" + name).trim();

  /* parse a component's value and hand it to `paint` when it is not older than what is shown */
  kept.follow = (props, watch, paint, late = () => {}) => {
    let shown = -1;
    const take = () => {
      if (!props.value) return;
      let next;
      try { next = JSON.parse(props.value); } catch { return; }
      if (next.v < shown) return late(next);
      shown = next.v;
      paint(next);
    };
    watch("value", take);
    take();
  };

  /* colours: var(--token) in any string of a figure becomes the theme's colour */
  kept.resolve = (node, wide) => {
    const seen = {};
    const colour = (name) => (seen[name] ??= token(name));
    const walk = (value, key, parent) => {
      if (typeof value === "string") return value.includes("var(--") ? value.replace(/var\(--([a-z0-9-]+)\)/g, (_, n) => colour(n)) : value;
      if (Array.isArray(value)) return value.map((item) => walk(item, "", key));
      if (value && typeof value === "object") {
        const copy = {};
        for (const name in value) copy[name] = walk(value[name], name, key);
        return copy;
      }
      return wide && key === "size" && /font$/.test(parent) ? value + 1 : value;
    };
    return walk(node, "", "");
  };

  /* the first drawing of each figure waits for its turn, so that the browser shows one before it works on the next */
  const turns = [];
  const next = () => { turns[0]?.(); turns.shift(); if (turns.length) setTimeout(next); };
  kept.inTurn = (draw) => { if (turns.push(draw) === 1) setTimeout(next); };

  const channel = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const parts = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255);
  /* black or white on a place of the sequential scale, whichever contrasts more (WCAG 2 luminance) */
  kept.contrast = (levels) => {
    const scale = [0, 1, 2, 3, 4, 5, 6].map((i) => parts(token("seq-" + i)));
    return levels.map((level) => {
      const at = Math.min(5, Math.floor(level * 6)), f = level * 6 - at;
      const [r, g, b] = [0, 1, 2].map((i) => channel(scale[at][i] + f * (scale[at + 1][i] - scale[at][i])));
      const light = 0.2126 * r + 0.7152 * g + 0.0722 * b;
      return (light + 0.05) / 0.05 > 1.05 / (light + 0.05) ? "#0b0f14" : "#ffffff";
    });
  };

  kept.dark = () => document.body.classList.contains("dark");
  kept.onTheme = (call) => new MutationObserver(call).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  kept.setTheme = (dark) => {
    document.body.classList.toggle("dark", dark);
    try { localStorage.setItem("esm_viz.theme", dark ? "dark" : "light"); } catch { /* private window */ }
  };

  kept.local.theme = () => kept.setTheme(!kept.dark());

  /* anything with data-do inside `host` is a control, its data-* are the message */
  kept.delegate = (host, trigger) => {
    const send = (source) => {
      const { do: act, ...rest } = source.dataset;
      if (Object.hasOwn(kept.local, act)) return kept.local[act](source);
      const message = { do: act, ...rest };
      if (source.matches("select, input")) message.value = source.value;
      /* of a form, what is typed goes along, in pieces that a message may hold */
      const fields = source.matches("button") ? source.closest("[data-form]")?.querySelectorAll("[data-field]") : null;
      for (const field of fields ?? []) message[field.dataset.field] = field.value.match(/[^]{1,300}/g) ?? [];
      trigger("act", message);
    };
    host.addEventListener("click", (event) => {
      const source = event.target.closest("[data-do]");
      if (source && !source.matches("select, input") && source.getAttribute("aria-disabled") !== "true") send(source);
    });
    host.addEventListener("change", (event) => { if (event.target.matches("select[data-do], input[data-do]")) send(event.target); });
    host.addEventListener("keydown", (event) => {
      const row = event.target.closest("[data-do]:not(button):not(select):not(input):not(a)");
      if (row && (event.key === "Enter" || event.key === " ")) { event.preventDefault(); send(row); }
    });
  };

  const roomy = matchMedia("(min-width: 761px)");
  const unfold = (place, open = []) => place.querySelectorAll("details").forEach((details, at) => {
    details.open = open[at] || ("wide" in details.dataset && roomy.matches);
  });
  roomy.addEventListener("change", () => document.querySelectorAll("details[data-wide]").forEach((details) => { details.open = roomy.matches; }));

  /* put HTML into a place only when it differs; what had the focus or was unfolded stays so */
  kept.fill = (place, html) => {
    if (kept.filled.get(place) === html) return;
    const held = document.activeElement && place.contains(document.activeElement) ? { ...document.activeElement.dataset } : {};
    const open = [...place.querySelectorAll("details")].map((details) => details.open);
    const typed = [...place.querySelectorAll("[data-field]")].map((field) => [field.dataset.field, field.value]);
    kept.filled.set(place, html);
    place.innerHTML = html;
    unfold(place, open);
    for (const [name, text] of typed) {
      const field = place.querySelector(`[data-field="${CSS.escape(name)}"]`);
      if (field && text) field.value = text;
      if (field && held.field === name) field.focus({ preventScroll: true });
    }
    if (!held.do) return;
    const twins = [...place.querySelectorAll(`[data-do="${CSS.escape(held.do)}"]`)];
    const same = twins.find((control) => ["index", "name", "value"].every((key) => control.dataset[key] === held[key]));
    (same ?? twins[0])?.focus({ preventScroll: true });
  };

  /* a block: HTML from the server */
  kept.block = (element, props, trigger, watch) => {
    const host = document.createElement("div");
    host.className = "block-host";
    element.replaceChildren(host);
    /* while the server is busy one question is always under way: it is answered when there is something new; an answer
       that is lost is asked for again, and nothing is asked before the page knows whose it is */
    let waiting = 0, busy = false, again = 0;
    const ask = () => {
      if (!busy || !kept.known || Date.now() - waiting < PATIENCE) return;
      const lost = waiting > 0; /* then what was sent since is sent again */
      waiting = Date.now();
      clearTimeout(again);
      again = setTimeout(ask, PATIENCE + 50);
      trigger("tick", lost ? { arrived: Number(host.dataset.v) } : {});
    };
    const poll = (next, newer) => {
      if (next.tick) waiting = 0;
      if (newer) busy = next.busy;
      if (Date.now() - waiting >= PATIENCE) setTimeout(ask, 10);
    };
    kept.follow(props, watch, (next) => {
      if (next.html !== undefined) kept.fill(host, next.html);
      host.dataset.v = next.v;
      if (next.said !== undefined) {
        kept.say(element, next.said);
        kept.onHeader?.(host, next);
      }
      if (next.busy !== undefined) poll(next, true);
    }, (next) => { if (next.busy !== undefined) poll(next, false); });
    kept.delegate(host, trigger);
    if (JSON.parse(props.value || "{}").busy !== undefined) kept.ask = () => trigger("tick", { arrived: Number(host.dataset.v) });
  };

  /* keys: 1 to 5 choose tabs, arrows move between them, P pins, U and Shift+U undo and redo */
  const tabs = () => [...document.querySelectorAll('#studio-tabs [role="tab"]')].filter((tab) => tab.offsetParent);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const field = event.target.closest?.("input:not([type=range]), textarea, select, [contenteditable=true]");
    if (field) return;
    const list = tabs(), at = list.indexOf(document.activeElement);
    if (/^[1-5]$/.test(event.key)) list.find((tab) => tab.textContent.trim().startsWith(event.key))?.click(); /* by its number: some may be hidden */
    else if (at >= 0 && (event.key === "ArrowRight" || event.key === "ArrowLeft")) {
      const to = list[(at + (event.key === "ArrowRight" ? 1 : list.length - 1)) % list.length];
      to.focus();
      to.click();
    } else {
      const name = { p: "pin", u: "undo", U: "redo" }[event.key];
      const button = name && document.querySelector(`[data-do="${name}"]`);
      if (button) button.click();
    }
  });

  const chosen = () => { try { return localStorage.getItem("esm_viz.theme"); } catch { return null; } };
  const asked = new URLSearchParams(location.search).get("__theme");
  const start = () => { if (!asked && chosen()) kept.setTheme(chosen() === "dark"); };
  document.readyState === "loading" ? document.addEventListener("DOMContentLoaded", start) : start();
  return kept;
})();
