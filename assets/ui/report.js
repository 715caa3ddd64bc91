/* A page of cards without a server: each figure is drawn once, and again when the theme changes. */
(() => {
  "use strict";
  const nothing = () => {};
  const pictures = JSON.parse(document.getElementById("pictures").textContent);
  document.querySelectorAll("[data-picture]").forEach((place, at) => {
    const value = JSON.stringify({ v: 0, ...pictures[at] });
    studio.card(place, { value }, nothing, nothing, "act", pictures[at].name);
  });
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const follow = () => document.body.classList.toggle("dark", dark.matches);
  dark.addEventListener("change", follow);
  follow();
  studio.delegate(document.querySelector("main"), nothing);
})();
