/* Keys of the whole page: `?` lists all keys, Esc closes what is open; the others are in studio.js and the cards. */
(() => {
  "use strict";
  const KEYS = [
    ["1 … 5", "go to a tab; ← → between tabs"],
    ["← → ↑ ↓", "from mark to mark in a picture that has the focus"],
    ["Enter", "select the mark"],
    ["T", "numbers of the picture as a table"],
    ["F", "fill the screen with the picture"],
    ["V", "presenter’s view; Page ↓ ↑ change its figure, Q its codes"],
    ["P", "pin B as A"],
    ["U", "undo; Shift + U redoes"],
    ["?", "this list"],
    ["Esc", "close, go back"],
  ];
  let panel = null;

  function list() {
    panel = document.createElement("dialog");
    panel.className = "keys";
    panel.setAttribute("aria-labelledby", "keys-title");
    panel.innerHTML = `<h2 id="keys-title">Keys</h2><dl>${KEYS.map(([key, what]) => `<div><dt><kbd>${key}</kbd></dt><dd>${what}</dd></div>`).join("")}</dl><form method="dialog"><button class="btn">Close</button></form>`;
    panel.addEventListener("click", (event) => { if (event.target === panel) panel.close(); });
    document.querySelector(".gradio-container").append(panel);
    return panel;
  }

  const closeMenus = (but) => document.querySelectorAll("details.take[open]").forEach((menu) => { if (menu !== but) menu.open = false; });
  document.addEventListener("click", (event) => closeMenus(event.target.closest?.("details.take")));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input:not([type=range]), textarea, select, [contenteditable=true]")) return;
    if (event.key === "?") { panel ??= list(); if (panel.open) panel.close(); else panel.showModal(); }
    else if (event.key === "Escape") {
      const menu = event.target.closest?.("details.take[open]");
      if (menu) { menu.open = false; menu.querySelector("summary").focus(); }
      else if (!panel?.open) studio.present.leave();
    }
  });
  /* before the tab changes, its picture gives the screen back */
  document.addEventListener("keydown", (event) => { if (/^[1-5]$/.test(event.key) && studio.present.card()) studio.present.leave(); }, true);
})();
