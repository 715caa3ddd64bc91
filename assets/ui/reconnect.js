/* The server is asked every few seconds whether it is there. While it is not, the page is grey and says so; when it is
   back, the page is loaded again, with what was on screen where the server has forgotten the session. */
(() => {
  "use strict";
  const OFTEN = 4000, AGAIN = 1500, SLOW = 20000; /* ms between two questions, the same while it is away, and until one counts as not answered */
  const CROSS = '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M4 4l8 8M12 4l-8 8"/></svg>';
  const root = document.documentElement;
  let state = "", away = false;

  /* what is on screen, as the share link has it; the header brings it with every change */
  studio.onHeader = (host, next) => {
    state = host.querySelector('[data-do="share"]')?.dataset.state ?? state;
    if (next.gone) comeBack();
  };

  /* in the address, since Gradio loads the page again too when its server is back, and whoever is first must bring it */
  function note() {
    const query = new URLSearchParams(location.search);
    query.set("tab", studio.openTab());
    if (state) query.set("kept", state);
    history.replaceState(history.state, "", location.pathname + "?" + query + location.hash);
  }

  function comeBack() {
    note();
    location.reload();
  }

  const asked = async () => {
    try {
      const answer = await fetch("./studio/ui/theme.js", { cache: "no-store", signal: AbortSignal.timeout(SLOW) });
      return answer.status < 500; /* a proxy answers for a server that is gone */
    } catch { return false; }
  };

  function grey() {
    if (!away) note();
    away = true;
    root.classList.add("away");
    document.querySelector("#studio-tabs")?.setAttribute("inert", "");
    const line = document.querySelector(".hdr .job");
    if (line) Object.assign(line, { className: "job bad", innerHTML: `${CROSS}<span class="what" role="alert">Disconnected, trying again</span>` });
  }

  async function watch() {
    if (document.visibilityState === "visible" || away) {
      if (await asked()) { if (away) return comeBack(); } else if (away || !(await asked())) grey();
    }
    setTimeout(watch, away ? AGAIN : OFTEN);
  }
  setTimeout(watch, OFTEN);
})();
