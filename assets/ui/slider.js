/* One compact slider among a card's controls: its newest value is sent, one message is under way at a time, and when the
   hand is off it the card says so, for what is too slow to follow. */
(() => {
  "use strict";
  const PATIENCE = 8000; /* ms, after which an answer is given up */

  studio.slider = (place, trigger) => {
    let knob = null, pending = false, rest = false, sent = 0;
    place.innerHTML = `<label class="slide"><span></span><input type="range"><output></output></label>`;
    const [name, range, output] = place.firstElementChild.children;
    const show = () => {
      range.style.setProperty("--p", `${(100 * (range.value - range.min)) / (range.max - range.min)}%`);
      output.textContent = Number(range.value).toFixed((String(knob.step).split(".")[1] ?? "").length);
    };
    const send = () => {
      if (sent && Date.now() - sent < PATIENCE) { pending = true; return; }
      trigger("act", { do: "knob", name: knob.name, value: Number(range.value), rest });
      pending = rest = false;
      sent = Date.now();
    };
    range.addEventListener("input", () => { show(); send(); });
    range.addEventListener("change", () => { rest = true; send(); });
    return (now) => {
      place.hidden = !now;
      sent = 0;
      if (!now) return;
      knob = now;
      if (pending) return send();
      Object.assign(range, { min: now.least, max: now.most, step: now.step, title: now.text });
      name.innerHTML = now.symbol;
      range.setAttribute("aria-label", now.label);
      if (!range.matches(":active")) range.value = now.value;
      show();
    };
  };
})();
