/* The presenter's view: large type, the knobs and one figure, and in the corner the code of the join page.
   It is this page's alone: V or its button turns it on and off, `?view=present` opens a page with it. */
(() => {
  "use strict";
  const EVERY = 5000; /* ms between two looks at how many are here */
  const TABS = ["Explore", "Merge", "Evaluate"]; /* what a hall is shown */
  const FIGURES = {
    Explore: { "card-map": "Map", "card-spectrum": "Spectrum", "card-overlap": "Overlap", "card-angles": "Angles", "card-stability": "Stability", "card-patches": "Patches", "card-subspaces": "Subspaces" },
    Merge: { "card-accuracy": "Accuracy", "card-interference": "Interference", "card-norms": "Size", history: "History", "card-curve": "α curve", "card-tuning": "Tuning", "card-sweep": "Sweep" },
    Evaluate: { board: "Methods", "card-bars": "Accuracy", flips: "Flips", "card-confusion": "Confusion", "card-routing": "Routing" },
  };
  /* every card of a tab, those without a short name here under their own title */
  const figuresOf = (tab) => {
    if (!FIGURES[tab]) return {};
    const others = [...document.querySelectorAll(`#${tab.toLowerCase()}>[id^="card-"]`)].filter((card) => !FIGURES[tab][card.id]);
    return { ...FIGURES[tab], ...Object.fromEntries(others.map((card) => [card.id, card.querySelector("h2")?.textContent ?? ""])) };
  };
  const root = document.documentElement, rule = document.createElement("style");
  const lead = Object.fromEntries(TABS.map((tab) => [tab, Object.keys(FIGURES[tab])[0]]));
  const container = () => document.querySelector(".gradio-container") ?? document.body;
  const button = () => document.querySelector('[data-do="hall"]');
  const tabs = () => [...document.querySelectorAll("#studio-tabs [role=tab]")];
  const open = () => tabs().find((tab) => tab.getAttribute("aria-selected") === "true")?.dataset.tabId;
  const roomy = matchMedia("(min-width: 761px)");
  const on = () => root.classList.contains("hall");

  const picks = Object.assign(document.createElement("nav"), { className: "seg picks" });
  picks.setAttribute("aria-label", "Figure");
  const way = Object.assign(document.createElement("button"), { className: "way", title: "Codes to scan (Q)" });
  way.innerHTML = `<span class="told"><b class="at"></b><span class="here"></span></span><span class="small"></span>`;
  const codes = Object.assign(document.createElement("dialog"), { className: "codes" });
  codes.setAttribute("aria-label", "Codes to scan");
  codes.innerHTML = `<div><figure><div class="join"></div><figcaption>Join: <b></b></figcaption></figure><figure class="this"><div class="join"></div><figcaption>What is on this screen</figcaption></figure></div><form method="dialog"><button class="btn">Close</button></form>`;
  codes.addEventListener("click", (event) => { if (event.target === codes) codes.close(); });

  /* cards draw larger while they lead */
  studio.leads = (card) => on() && roomy.matches && Object.values(lead).includes(`card-${card.dataset.card}`);

  function show() {
    const shown = ["rail", "stats", ...Object.values(lead)].map((id) => `#${id}`).join();
    rule.textContent = `@media (min-width:761px){.hall .page>:not(${shown}){display:none!important}}`;
    const tab = open(), figures = figuresOf(tab);
    picks.hidden = !FIGURES[tab];
    picks.replaceChildren(...Object.entries(figures).map(([id, name]) => {
      const pick = Object.assign(document.createElement("button"), { textContent: name, className: id === lead[tab] ? "on" : "" });
      pick.setAttribute("aria-pressed", String(id === lead[tab]));
      pick.onclick = () => choose(tab, id);
      return pick;
    }));
  }

  function choose(tab, id) {
    const held = picks.contains(document.activeElement);
    lead[tab] = id;
    show();
    if (held) picks.querySelector(".on").focus();
  }

  /* a presenter's clicker sends Page Down and Page Up */
  function step(by) {
    const tab = open(), all = Object.keys(figuresOf(tab));
    if (all.length) choose(tab, all[(all.indexOf(lead[tab]) + by + all.length) % all.length]);
  }

  /* the code of the way in, or of the link to what is on a tab */
  async function code(tab) {
    const answer = await fetch(`./studio-code/${button().dataset.ticket}${tab ? `?tab=${tab}` : ""}`);
    if (!answer.ok) throw new Error(await answer.text());
    return answer.json();
  }

  async function count() {
    if (!on() || document.visibilityState !== "visible") return;
    try {
      const { code: drawn, address, here } = await code("");
      studio.fill(way.querySelector(".small"), drawn);
      studio.fill(way.querySelector(".here"), here);
      way.querySelector(".at").textContent = address;
    } catch { /* the server is away: what was known stays */ }
  }

  async function scan() {
    if (codes.open) return codes.close();
    const [join, view] = codes.querySelectorAll(".join");
    codes.querySelector("b").textContent = way.querySelector(".at").textContent;
    join.replaceChildren(...[...way.querySelector(".small").children].map((drawn) => drawn.cloneNode(true)));
    codes.querySelector(".this").hidden = true;
    codes.showModal();
    try {
      studio.fill(view, (await code(open())).code);
      codes.querySelector(".this").hidden = false;
    } catch { /* its link is too long for a code: Share sends it */ }
  }
  way.onclick = scan;

  function turn(wanted) {
    const query = new URLSearchParams(location.search);
    if (wanted) query.set("view", "present"); else query.delete("view");
    history.replaceState(history.state, "", location.pathname + (String(query) ? `?${query}` : "") + location.hash);
    studio.present.leave();
    if (codes.open) codes.close();
    if (wanted) container().append(picks, way, codes); else [picks, way, codes].forEach((part) => part.remove());
    root.classList.toggle("hall", wanted);
    if (wanted && !TABS.includes(open())) tabs().find((tab) => tab.dataset.tabId === "Merge")?.click();
    show();
    count();
    dispatchEvent(new Event("resize"));
  }
  studio.local.hall = () => turn(!on());

  document.head.append(rule);
  const watcher = new MutationObserver(() => { if (on()) show(); });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input:not([type=range]), textarea, select, [contenteditable=true]")) return;
    const slider = event.target.matches?.("input[type=range]");
    if (event.key === "v") turn(!on());
    else if (!on()) return;
    else if (event.key === "q") scan();
    else if (!slider && (event.key === "PageDown" || event.key === "PageUp")) { event.preventDefault(); step(event.key === "PageDown" ? 1 : -1); }
  });
  setInterval(count, EVERY);

  /* the page is there once the server has told it its session */
  const opened = studio.opened;
  studio.opened = () => {
    opened();
    watcher.observe(document.querySelector("#studio-tabs [role=tablist]"), { subtree: true, attributeFilter: ["aria-selected"] });
    if (new URLSearchParams(location.search).get("view") === "present") turn(true);
  };
})();
