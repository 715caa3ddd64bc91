/* The page's own behaviour: restoring its session and open tab, the share link, the status line for screen readers. */
(() => {
  "use strict";
  const CALM = 5000; /* ms between two announcements */
  const HOLD = 50; /* ms between two looks whether the server has answered a new page */
  const GIVE_UP = 8000; /* ms, after which a page that comes back is shown as it is */
  const root = document.documentElement;
  const keep = (store, key, value) => { try { window[store].setItem(key, value); } catch { /* private window */ } };
  const kept = (store, key) => { try { return window[store].getItem(key); } catch { return null; } };
  const KEY = "esm_viz.session " + location.pathname; /* one origin may hold two studios */

  /* the tab that a link or the page before the reload had open */
  const query = new URLSearchParams(location.search), TAB = "esm_viz.tab";
  const words = (tab) => tab.textContent.trim().split(/\s+/).pop();
  const tabs = () => [...document.querySelectorAll('#studio-tabs [role="tab"]')];
  let wanted = query.get("tab") ?? kept("sessionStorage", TAB);
  const choose = () => {
    const tab = wanted && tabs().find((one) => words(one) === wanted && one.offsetParent);
    wanted = null;
    if (tab && tab.getAttribute("aria-selected") !== "true") tab.click();
  };
  const open = studio.openTab = () => words(tabs().find((one) => one.getAttribute("aria-selected") === "true") ?? document.body);
  document.addEventListener("click", (event) => { if (event.target.closest?.('#studio-tabs [role="tab"]')) setTimeout(() => keep("sessionStorage", TAB, open())); });

  /* called once the server has told the page its session: from now on it is the visitor's */
  const COOKIE = "esm_viz_session="; /* where a frame may not use localStorage */
  if (query.has("state") || kept("localStorage", KEY) || document.cookie.includes(COOKIE)) root.classList.add("returning");
  const show = () => root.classList.remove("returning");
  setTimeout(show, GIVE_UP);
  const pageId = () => document.querySelector("#page-id textarea, #page-id input")?.value;
  const hold = setInterval(() => { /* the server's answer is in the page when this hidden field has its id */
    const id = pageId();
    if (!id) return;
    clearInterval(hold);
    try { localStorage.setItem(KEY, id); }
    catch { document.cookie = `${COOKIE}${id}; Path=${location.pathname}; SameSite=None; Secure; Partitioned`; }
    setTimeout(() => studio.opened()); /* the answer's other parts are painted first */
  }, HOLD);
  studio.opened = () => {
    query.delete("state");
    query.delete("tab");
    query.delete("kept");
    const rest = query.toString();
    history.replaceState(history.state, "", location.pathname + (rest ? "?" + rest : "") + location.hash);
    choose();
    requestAnimationFrame(show);
    studio.known = true;
    studio.ask?.();
  };
  const mount = (popover) => (document.querySelector(".gradio-container") ?? document.body).append(popover);
  const below = (popover, source) => {
    const place = source.getBoundingClientRect();
    popover.style.top = `${place.bottom + 6}px`;
    popover.style.left = `${Math.max(8, Math.min(place.right - popover.offsetWidth, innerWidth - popover.offsetWidth - 8))}px`;
  };
  const begin = () => {
    document.cookie = `${COOKIE}; Path=${location.pathname}; Max-Age=0; SameSite=None; Secure; Partitioned`;
    try { localStorage.removeItem(KEY); sessionStorage.removeItem(TAB); } catch { /* private window */ }
    location.reload();
  };

  /* asked first: what is on screen, A and the history would be gone */
  const question = document.createElement("div");
  Object.assign(question, { className: "share-link", id: "afresh", popover: "auto" });
  question.setAttribute("role", "dialog");
  question.setAttribute("aria-label", "Start afresh");
  question.innerHTML = `<h2>Start afresh?</h2><p>The recipe, A and the history of this page are given up. Recipe saves the recipe as a file.</p>
    <div class="row"><button class="btn pri yes">Start afresh</button><button class="btn no">Stay</button></div>`;
  question.querySelector(".yes").onclick = begin;
  question.querySelector(".no").onclick = () => question.hidePopover();
  studio.local.afresh = (source) => {
    if (!question.isConnected) mount(question);
    question.showPopover();
    below(question, source);
    question.querySelector(".no").focus();
  };

  /* what another page of the same session did is asked for when somebody looks at this one */
  const look = () => { if (document.visibilityState === "visible") studio.ask?.(); };
  document.addEventListener("visibilitychange", look);
  addEventListener("focus", look);
  addEventListener("pageshow", (event) => { if (event.persisted) look(); });

  /* read out what the job line says: at once when the job changes, else not more often than every few seconds */
  const voice = { at: -Infinity, text: "", next: 0 };
  studio.say = (element, text) => {
    if (!voice.place?.isConnected) {
      voice.place = Object.assign(document.createElement("p"), { className: "said" });
      voice.place.setAttribute("role", "status");
      element.append(voice.place);
    }
    if (!text || text === voice.text) return;
    voice.text = text;
    clearTimeout(voice.next);
    const tell = () => { voice.at = Date.now(); voice.place.textContent = voice.text; };
    voice.next = setTimeout(tell, Math.max(0, voice.at + CALM - Date.now()));
  };

  /* the link: copied where the browser allows it, and always there to be selected */
  const dialog = document.createElement("div");
  dialog.className = "share-link";
  dialog.id = "share-link";
  dialog.popover = "auto";
  dialog.setAttribute("role", "dialog");
  dialog.setAttribute("aria-label", "Share link");
  dialog.innerHTML = `<h2>Link to what is on screen</h2><p>Method, knobs, selection and A, no files. It works on a page that has the same files open.</p>
    <input class="address" readonly aria-label="Link"><p class="state" role="status"></p>`;
  const address = dialog.querySelector(".address"), state = dialog.querySelector(".state");
  const told = (text, warn) => { state.textContent = text; state.classList.toggle("warn", warn); };
  studio.local.share = async (source) => {
    if (!dialog.isConnected) mount(dialog);
    const link = String(new URLSearchParams({ tab: open(), state: source.dataset.state })).replaceAll("%3A", ":").replaceAll("%2C", ",");
    address.value = location.origin + location.pathname + "?" + link;
    told("", false);
    dialog.showPopover();
    below(dialog, source);
    address.focus();
    address.select();
    requestAnimationFrame(() => { address.scrollLeft = 0; });
    try {
      await navigator.clipboard.writeText(address.value);
      told("✓ Copied", false);
    } catch {
      told("Copy it by hand: it is selected.", true);
    }
  };
  dialog.addEventListener("toggle", (event) => { if (event.newState === "closed") document.querySelector('[data-do="share"]')?.focus({ preventScroll: true }); });
})();
