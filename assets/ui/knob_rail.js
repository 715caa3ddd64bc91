/* The rail of knobs. One request is under way at a time and the newest value always follows it: values neither
   queue up nor arrive out of order. While a request is under way, the server does not move the slider. */
(() => {
  "use strict";
  const PATIENCE = 8000; /* ms, after which an answer is given up */
  const PRESET = "Sets every knob, and every task's weight to 1. α is the paper's where it names one. Where papers search α, " +
    "it is the one that a search chose for these files, searched at once where there is none yet.";

  function courier(trigger) {
    const state = { sent: 0, answered: 0, pending: null, since: 0 };
    const go = (message) => {
      state.sent += 1;
      state.since = Date.now();
      trigger("act", { ...message, seq: state.sent });
    };
    state.send = (message) => {
      const busy = state.sent > state.answered && Date.now() - state.since < PATIENCE;
      if (busy && state.pending && state.pending.name !== message.name) go(state.pending); /* another knob's last value is not lost */
      if (busy) state.pending = message; else go(message);
    };
    state.answer = (seq) => {
      state.answered = Math.max(state.answered, seq ?? 0);
      if (state.pending && state.answered >= state.sent) { const next = state.pending; state.pending = null; go(next); }
    };
    state.idle = () => !state.pending && state.answered >= state.sent;
    return state;
  }

  /* what a knob does, unfolded by the sign beside its name */
  function explained(box, knob) {
    if (knob.mark || !knob.text) return;
    const sign = document.createElement("button"), text = document.createElement("p");
    Object.assign(sign, { className: "ask", textContent: "?", type: "button" });
    sign.setAttribute("aria-label", "What " + knob.label + " does");
    Object.assign(text, { className: "does", textContent: knob.text, hidden: true });
    const turn = (open) => { text.hidden = !open; sign.setAttribute("aria-expanded", String(open)); };
    turn(knob.open);
    sign.onclick = () => turn(text.hidden);
    box.querySelector(".l b").after(sign);
    box.append(text);
  }

  const digits = (step) => Math.max(0, (String(step).split(".")[1] ?? "").length);
  const show = (knob, value) => Number(value).toFixed(digits(knob.step)).replace("-", "−");

  const plain = (number) => String(Number(number.toFixed(3))).replace("-", "−");

  const sayer = (box) => (html, quiet) => {
    const place = box.querySelector(".f");
    studio.fill(place, html);
    place.classList.toggle("noeff", Boolean(quiet));
  };

  function row(knob, send) {
    const box = document.createElement("div");
    box.className = knob.mark ? "knob slim" : "knob";
    box.dataset.knob = knob.name;
    box.innerHTML = `<div class="l"><b></b><i></i><small class="best" hidden></small><button class="rs" title="Back to the default">↺<span></span></button>
      <input class="v" inputmode="decimal" autocomplete="off" spellcheck="false"></div>
      <div class="ends"><span></span><div class="track"><s class="default"></s><s class="best" hidden></s><input type="range"></div><span></span></div><div class="f"></div>`;
    const range = box.querySelector("[type=range]"), value = box.querySelector(".v");
    Object.assign(range, { min: knob.least, max: knob.most, step: knob.step });
    box.querySelector("b").textContent = knob.label;
    box.querySelector("b").title = knob.text;
    box.querySelector("i").innerHTML = knob.mark ?? knob.symbol;
    range.setAttribute("aria-label", knob.label);
    value.setAttribute("aria-label", knob.label + ", value");
    box.querySelector(".rs").setAttribute("aria-label", `Reset ${knob.label} to ${show(knob, knob.default)}`);
    box.querySelector(".rs span").textContent = knob.mark ? "" : show(knob, knob.default);
    box.querySelectorAll(".ends > span").forEach((end, at) => { end.textContent = plain([knob.least, knob.most][at]); });
    const place = (number) => `calc(9px + (100% - 18px) * ${(number - knob.least) / (knob.most - knob.least)})`;
    box.querySelector("s.default").style.left = place(knob.default);
    const set = (number) => {
      range.value = number;
      range.style.setProperty("--p", `${(100 * (range.value - knob.least)) / (knob.most - knob.least)}%`);
      if (document.activeElement !== value) value.value = show(knob, number);
      box.classList.toggle("moved", Math.abs(number - knob.default) > 1e-9);
    };
    const move = (number) => { set(number); send({ do: knob.act, name: knob.name, value: Number(number) }); };
    range.addEventListener("input", () => move(range.value));
    range.addEventListener("dblclick", () => move(knob.default));
    range.addEventListener("keydown", (event) => {
      const jump = { PageUp: 10, PageDown: -10 }[event.key];
      if (!jump) return;
      event.preventDefault();
      move(Math.min(knob.most, Math.max(knob.least, Number(range.value) + jump * knob.step)));
    });
    value.addEventListener("change", () => {
      const number = Number(value.value.replace("−", "-").replace(",", "."));
      value.blur();
      if (Number.isFinite(number)) move(number); else set(range.value);
    });
    box.querySelector(".rs").onclick = () => move(knob.default);
    /* the value that a search chose, as a mark on the slider and in words above it */
    const best = (number) => {
      const words = box.querySelector("small.best"), sign = box.querySelector("s.best");
      words.hidden = sign.hidden = number == null;
      if (number == null) return;
      words.textContent = `▾ best ${show(knob, number)}`;
      sign.style.left = place(number);
    };
    return { box, set, best, say: knob.mark ? () => {} : sayer(box) };
  }

  /* many words are a list, a few are buttons side by side */
  function list(knob, send) {
    const box = document.createElement("div"), select = document.createElement("select"), label = document.createElement("b");
    box.className = "knob choice";
    box.dataset.knob = knob.name;
    box.innerHTML = `<div class="l"></div><div class="f"></div>`;
    Object.assign(label, { textContent: knob.label, title: knob.text });
    select.className = "sel";
    select.setAttribute("aria-label", knob.label);
    select.replaceChildren(...knob.choices.map((word) => new Option(word, word)));
    select.onchange = () => send({ do: "knob", name: knob.name, value: select.value });
    box.firstElementChild.append(label, select);
    return { box, set: (value) => { select.value = value; }, say: sayer(box) };
  }

  function choice(knob, send) {
    if (knob.choices.length > 4) return list(knob, send);
    const box = document.createElement("div");
    box.className = "knob choice";
    box.dataset.knob = knob.name;
    box.innerHTML = `<div class="l"><b></b><span class="seg" role="radiogroup"></span></div><div class="f"></div>`;
    box.querySelector("b").textContent = knob.label;
    box.querySelector("b").title = knob.text;
    const seg = box.querySelector(".seg");
    seg.setAttribute("aria-label", knob.label);
    const set = (value) => seg.replaceChildren(...knob.choices.map((word) => {
      const button = document.createElement("button");
      button.textContent = word;
      button.className = word === value ? "on" : "";
      button.setAttribute("role", "radio");
      button.setAttribute("aria-checked", String(word === value));
      button.onclick = () => { set(word); send({ do: "knob", name: knob.name, value: word }); };
      return button;
    }));
    return { box, set, say: sayer(box) };
  }

  /* what stands above the tasks' weights */
  function heading() {
    const box = document.createElement("div");
    box.className = "knob weights";
    box.innerHTML = `<div class="l"><b>Task weights</b><i>w<sub>t</sub></i></div><div class="f"></div>`;
    return { box, say: sayer(box) };
  }

  const option = (value, title, hint) => Object.assign(new Option(title, value), { title: hint });

  /* presets in groups; a setting of one's own stands on top, and only while it is one */
  function menu(select, now) {
    const groups = (now.menu ?? []).map(([label, presets]) => {
      const group = Object.assign(document.createElement("optgroup"), { label });
      group.append(...presets.map((preset) => option(...preset)));
      return group;
    });
    const own = Object.assign(option("", now.own, ""), { hidden: true, disabled: true });
    select.replaceChildren(own, ...groups);
  }

  studio.rail = (element, props, trigger, watch) => {
    element.innerHTML = `<aside class="card rail"><div class="row pick"><select class="sel" aria-label="Preset"></select><button class="btn reset">Reset all</button></div>
      <p class="rail-error" role="alert" hidden></p><p class="how about"></p><p class="how words"></p><div class="knobs"></div><details class="more"><summary>More <span></span></summary><div class="knobs"></div></details></aside>`;
    const rail = element.firstElementChild, select = rail.querySelector("select"), post = courier(trigger);
    const [main, more] = rail.querySelectorAll(".knobs"), error = rail.querySelector(".rail-error");
    const folded = rail.querySelector(".more");
    folded.addEventListener("toggle", () => folded.open && main.children.length > 3 && rail.scrollTo({ top: folded.offsetTop - rail.offsetTop }));
    let rows = {}, built = "", weights = heading();
    select.title = PRESET;
    select.onchange = () => post.send({ do: "preset", name: "preset", value: select.value });
    rail.querySelector(".reset").onclick = () => post.send({ do: "reset", name: "reset" });
    const build = (now) => {
      rows = {};
      main.replaceChildren();
      more.replaceChildren();
      for (const knob of now.knobs) {
        const made = knob.choices.length ? choice(knob, post.send) : row(knob, post.send);
        explained(made.box, { ...knob, open: now.knobs.filter((each) => !each.more).length < 5 });
        rows[knob.act + knob.name] = made;
        if (knob.mark && weights.box.parentNode !== more) more.append(weights.box);
        (knob.more ? more : main).append(made.box);
      }
      rail.querySelector(".more").hidden = !more.children.length;
      rail.querySelector(".more").open = main.children.length < 4;
      rail.querySelector(".about").hidden = main.children.length > 4;
      main.classList.toggle("few", main.children.length < 4);
      main.classList.toggle("many", main.children.length > 6);
      menu(select, now);
    };
    studio.follow(props, watch, (now) => {
      post.answer(now.seq);
      const key = now.method + JSON.stringify(now.knobs.map((k) => [k.act, k.name, k.least, k.most, k.step, k.default]));
      if (key !== built) { build(now); built = key; }
      const calm = post.idle();
      if (calm) { select.value = now.preset ?? ""; select.options[0].textContent = now.own ?? ""; }
      for (const knob of now.knobs) {
        const made = rows[knob.act + knob.name];
        if (calm) made.set(knob.value);
        made.say(knob.math || knob.live, knob.quiet);
      }
      rows.knobalpha?.best?.(now.best);
      weights.say(now.weights?.live ?? "", now.weights?.quiet);
      rail.querySelector("summary span").textContent = now.moved ?? "";
      rail.querySelector(".about").innerHTML = now.summary ?? "";
      rail.querySelector(".words").innerHTML = now.words ?? "";
      rail.querySelector(".words").hidden = !now.words;
      error.hidden = !now.error;
      error.textContent = now.error ?? "";
      rail.dataset.v = now.v;
      rail.dataset.recipe = now.recipe ?? "";
    });
  };
})();
