/* Sets the visitor's theme on the join and login pages, as in the studio. */
(() => {
  "use strict";
  const dark = matchMedia("(prefers-color-scheme: dark)"), asked = new URLSearchParams(location.search).get("__theme");
  const chosen = () => { try { return localStorage.getItem("esm_viz.theme"); } catch { return null; } };
  const dress = () => { document.body.classList.toggle("dark", (asked ?? chosen() ?? (dark.matches ? "dark" : "light")) === "dark"); };
  dark.addEventListener("change", dress);
  dress();
})();
