/* The join page: the number of people with an open page. */
(() => {
  "use strict";
  const EVERY = 5000; /* ms */
  const place = document.getElementById("here");
  setInterval(async () => {
    if (document.visibilityState !== "visible") return;
    try {
      const { here } = await (await fetch("./join/here")).json();
      if (place.innerHTML !== here) place.innerHTML = here;
    } catch { /* the server is away: the last number stays */ }
  }, EVERY);
})();
