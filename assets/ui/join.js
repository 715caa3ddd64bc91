/* The landing page: the visitor's theme, and how many are here now. */
(() => {
  "use strict";
  const EVERY = 5000; /* ms */
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const asked = new URLSearchParams(location.search).get("__theme");
  const chosen = () => { try { return localStorage.getItem("esm_viz.theme"); } catch { return null; } };
  const dress = () => { document.body.classList.toggle("dark", (asked ?? chosen() ?? (dark.matches ? "dark" : "light")) === "dark"); };
  dark.addEventListener("change", dress);
  dress();
  const count = async () => {
    if (document.visibilityState !== "visible") return;
    try {
      const { here } = await (await fetch("./join/here")).json();
      document.getElementById("here").textContent = here;
      document.getElementById("people").textContent = here === 1 ? "person" : "people";
    } catch { /* the server is away: the last number stays */ }
  };
  setInterval(count, EVERY);
})();
