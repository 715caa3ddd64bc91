/* Full screen for one card, with type and lines 1.5 times as large; Esc ends it. The figure is still updated. */
(() => {
  "use strict";
  const SIZES = new Set(["size", "thickness", "standoff", "xshift", "yshift", "xgap", "ygap"]);
  const STROKES = new Set(["line", "error_x", "error_y"]);
  let shown = null;

  /* a figure with larger type, marks and strokes */
  studio.enlarge = (figure, factor) => {
    const walk = (value, key, parent) => {
      if (Array.isArray(value)) return key === "size" || (key === "width" && STROKES.has(parent)) ? value.map((item) => walk(item, key, parent)) : value.map((item) => (item && typeof item === "object" ? walk(item, "", key) : item));
      if (value && typeof value === "object") {
        const copy = {};
        for (const name in value) copy[name] = name === "customdata" || name === "meta" ? value[name] : walk(value[name], name, key);
        return copy;
      }
      const grows = SIZES.has(key) || (key === "width" && STROKES.has(parent)) || parent === "margin";
      return typeof value === "number" && grows ? factor * value : value;
    };
    return walk(figure, "", "");
  };

  /* everything beside the card is out of reach meanwhile */
  function beside(card) {
    const found = [];
    for (let node = card; node !== document.body; node = node.parentElement) {
      for (const other of node.parentElement.children) if (other !== node && !other.inert && !/^(SCRIPT|STYLE|LINK)$/.test(other.tagName)) found.push(other);
    }
    return found;
  }

  function leave() {
    if (!shown) return;
    const { card, others, held } = shown;
    shown = null;
    others.forEach((other) => { other.inert = false; });
    card.classList.remove("present");
    card.querySelector(".fill").setAttribute("aria-pressed", "false");
    held?.focus({ preventScroll: true });
  }

  studio.present = (card) => {
    const same = shown?.card === card;
    leave();
    if (same) return;
    shown = { card, others: beside(card), held: card.contains(document.activeElement) ? document.activeElement : card.querySelector(".fig") };
    shown.others.forEach((other) => { other.inert = true; });
    card.classList.add("present");
    card.querySelector(".fill").setAttribute("aria-pressed", "true");
    shown.held.focus({ preventScroll: true });
  };
  studio.present.leave = leave;
  studio.present.card = () => shown?.card;
})();
