/* Keeps the row names at the left edge of a map that is wider than its card and scrolls. */
(() => {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";

  studio.sticky = (box) => {
    const body = box.parentElement, names = body.querySelector(".over .names");
    const keep = () => names.setAttribute("transform", `translate(${body.scrollLeft} 0)`);
    body.addEventListener("scroll", keep, { passive: true });
    /* after a repaint: a strip of the card's colour with the labels on it */
    return () => {
      names.replaceChildren();
      if (!box.layout.meta?.rows || box.clientWidth <= body.clientWidth + 1) return;
      const { xaxis, yaxis } = box._fullLayout, strip = document.createElementNS(SVG, "rect");
      Object.entries({ x: 0, y: yaxis._offset - 1, width: xaxis._offset - 1, height: yaxis._length + 2 }).forEach(([key, value]) => strip.setAttribute(key, value));
      const ticks = [...box.querySelectorAll(".yaxislayer-above .ytick > text")].map((tick) => tick.cloneNode(true));
      names.append(strip, ...ticks);
      keep();
    };
  };
})();
