"""From starting the server to the first page, and from opening the page to its first picture, in Chromium on the demo.

    python -m benchmarks opening [--rounds 5]

The server's clock starts with its process and stops when the page is answered. The page's clock is the browser's own:
from the start of the navigation until Plotly has drawn the layer map; *again* has the browser's cache and the visitor's
session. Processor time is told too, the server's and the page's, since it depends less on what else the machine does.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.browser import FLAGS

ROOT = Path(__file__).parents[1]
PORT = 7996
PATIENCE = 300.0  # seconds
PICTURE = "() => window.studio?.painted?.map?.at"
READY = "document.querySelector('#page-id textarea, #page-id input').value.length > 10"
REST = "document.querySelector('.job')?.innerText.trim() === 'Up to date'"


def main(rounds: int) -> None:
    """Print one line a figure."""
    from playwright.sync_api import sync_playwright

    starts = [start_once() for _ in range(max(1, rounds // 2))]
    show("server start to first page", [wall for wall, _ in starts])
    show("  processor time until then", [used for _, used in starts])
    server = start()
    wait_for_page(server)
    chromium = os.environ.get("ESM_VIZ_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        show("page to picture, server just up", [picture_at(browser, server_rests=True)[0]])
        visits = [picture_at(browser) for _ in range(rounds)]
        first, again, used = zip(*visits, strict=True)
        show("page to picture, first visit", first)
        show("  the page's processor time", used)
        show("page to picture, again", again)
        browser.close()
    server.terminate()
    server.wait(10)


def picture_at(browser: Any, server_rests: bool = False) -> tuple[float, float, float]:
    """Return the seconds until the first picture stands, in a fresh browser and after a reload; and used for the first.

    The processor time is that of the page's main thread.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    page = context.new_page()
    page.set_default_timeout(1000 * PATIENCE)
    watch = context.new_cdp_session(page)
    watch.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto(f"http://127.0.0.1:{PORT}/")
    first = page.wait_for_function(PICTURE).json_value() / 1000
    used = next(m["value"] for m in watch.send("Performance.getMetrics")["metrics"] if m["name"] == "TaskDuration")
    page.wait_for_function(READY)
    if server_rests:
        page.wait_for_function(REST)
        page.wait_for_timeout(1000)
    page.wait_for_timeout(300)
    page.reload()
    again = page.wait_for_function(PICTURE).json_value() / 1000
    context.close()
    return first, again, used


def start() -> subprocess.Popen[bytes]:
    """Start the studio on the demo as a person does."""
    command = [sys.executable, "app.py", "--port", str(PORT), "--device", "cpu"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def start_once() -> tuple[float, float]:
    """Return the seconds, and the processor's, until a fresh server answers with the page."""
    begun = time.monotonic()
    server = start()
    wait_for_page(server)
    wall, used = time.monotonic() - begun, processor_seconds(server.pid)
    server.terminate()
    server.wait(10)
    return wall, used


def wait_for_page(server: subprocess.Popen[bytes]) -> None:
    """Return once the page is answered.

    Raises:
        SystemExit: the server ended, or never answered.
    """
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/", timeout=30) as answer:
                answer.read()
                return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("the studio did not start")


def processor_seconds(pid: int) -> float:
    """Return the processor time of a process so far (Linux; NaN elsewhere)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def show(name: str, seconds: Sequence[float]) -> None:
    """Print the median, and the least and most."""
    low, high = min(seconds), max(seconds)
    print(f"{name:<34} {statistics.median(seconds):6.1f} s   ({low:.1f} to {high:.1f}, n = {len(seconds)})", flush=True)
