"""From a knob's event to the painted picture, in Chromium on the demo: median and 95 % point in milliseconds.

    python -m benchmarks browser [--rounds 30]

The clock starts when the slider's event is fired and stops when Plotly has drawn the interference of that value, seen
from inside the page; for the first accuracy it stops when bars of that recipe are drawn from the quick subset.
"""

from __future__ import annotations

import os
import shutil
import statistics

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
KNOBS = ("task_exponent", "dimension_exponent", "layer_exponent", "alpha")
ROUND = """([knob, value, card]) => new Promise((done) => {
  const input = document.querySelector(`[data-knob=${knob}] input[type=range]`);
  const before = studio.painted[card]?.v ?? -1, start = performance.now();
  input.value = value;
  input.dispatchEvent(new Event("input", {bubbles: true}));
  const look = () => {
    const now = studio.painted[card];
    const fresh = !document.querySelector(`[data-card=${card}]`).classList.contains("stale");
    if (now && now.v > before && fresh && !now.stale) requestAnimationFrame(() => done(now.at - start));
    else if (performance.now() - start > 20000) done(-1);
    else setTimeout(look, 1);
  };
  look();
})"""
REST = "document.querySelector('.job')?.innerText.trim() === 'Up to date'"


def main(rounds: int) -> None:
    """Print one line a knob."""
    from playwright.sync_api import sync_playwright

    from esm_viz.ui import serve

    port = 7999
    studio = serve(None, port=port, device="cpu", block=False)
    chromium = os.environ.get("ESM_VIZ_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector("#card-map .main-svg")
        page.wait_for_function("document.querySelector('#page-id textarea, #page-id input').value.length > 10")
        page.keyboard.press("3")
        page.wait_for_selector("#card-interference .main-svg")
        page.wait_for_function(REST, timeout=120_000)
        print(f"{'knob to picture':<24} {'median':>7} {'p95':>7}   ms")
        for knob in KNOBS:
            times = []
            for at in range(rounds + 3):
                times.append(page.evaluate(ROUND, [knob, f"{0.5 + 0.1 * (at % 15):.1f}", "interference"]))
                page.wait_for_timeout(60)
            show(knob, times[3:])
        page.wait_for_function(REST, timeout=120_000)
        times = []
        for at in range(max(5, rounds // 3)):
            times.append(page.evaluate(ROUND, ["alpha", f"{0.31 + 0.01 * at:.2f}", "accuracy"]))
            page.wait_for_function(REST, timeout=120_000)
        show("first accuracy", times)
        browser.close()
    studio.blocks.close()
    studio.store.close()
    os._exit(0)  # worker threads may still hold a cancelled job


def show(name: str, times: list[float]) -> None:
    """Print the median and the 95 % point; a round that never came counts as infinite."""
    known = sorted(time if time >= 0 else float("inf") for time in times)
    high = known[min(len(known) - 1, round(0.95 * len(known)))]
    print(f"{name:<24} {statistics.median(known):7.0f} {high:7.0f}", flush=True)
