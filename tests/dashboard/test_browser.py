"""The real app in a real browser: both pages, light and dark."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cascade_otel.records import HOUR_NS
from tests.presentation.small_store import Built, build

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[2]
CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
BEACON = "http://203.0.113.9/beacon.png"
HOSTILE = {
    "steady": f"![x]({BEACON})",
    "young": f"<img src={BEACON} onerror=\"document.title='taken'\"><script>document.title='taken'</script>",
}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The app, served from the repository root as the documentation says."""
    built: Built = build(
        tmp_path_factory.mktemp("browser") / "store", time.time_ns() // HOUR_NS, names=HOSTILE
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "CASCADE_OTEL_STORE": str(built.source.store),
        "CASCADE_OTEL_STATE": str(built.source.state),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "streamlit", "run", "dashboard/app.py", "--server.port", str(port)]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as app:
        try:
            _wait_until_up(f"http://127.0.0.1:{port}/_stcore/health", app)
            yield f"http://127.0.0.1:{port}"
        finally:
            app.terminate()


def _wait_until_up(url: str, app: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert app.poll() is None, "the dashboard ended at once"
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the dashboard did not come up within 60 s")


class Seen:
    """One page in one browser: what it complained about and whom it asked."""

    def __init__(self, browser: Any, scheme: str) -> None:
        self.context = browser.new_context(viewport={"width": 1600, "height": 1000}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.asked: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._said)
        self.page.on("request", lambda request: self.asked.append(request.url))

    def _said(self, message: Any) -> None:
        # Streamlit looks for its server below the page's path first.
        if message.type == "error" and "/task/_stcore/" not in message.location.get("url", ""):
            self.errors.append(message.text)

    def strangers(self) -> list[str]:
        """Addresses asked that are neither the app nor inside the page."""
        return [url for url in self.asked if not url.startswith(("http://127.0.0.1", "data:", "blob:"))]

    def shows_something(self) -> bool:
        """The screen is not one colour."""
        return len(set(self.page.screenshot()[::997])) > 50


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.fail(f"no Chromium at {CHROMIUM}; type: apt-get install chromium, or set CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield started
        started.close()


@pytest.fixture(params=["light", "dark"])
def seen(browser: Any, request: pytest.FixtureRequest) -> Iterator[Seen]:
    one = Seen(browser, request.param)
    yield one
    one.context.close()


def test_the_first_screen_answers_and_a_click_opens_the_task(address: str, seen: Seen) -> None:
    page = seen.page
    page.goto(address)
    page.get_by_text("is drifting: escalation 20% → 40%").wait_for(timeout=60_000)
    page.locator("[data-testid=stDataFrame] canvas").first.wait_for(timeout=30_000)
    page.get_by_text("58% saved against strong-only").wait_for(timeout=30_000)
    assert seen.shows_something()
    place = page.locator("[data-testid=stDataFrame]").first.bounding_box()
    page.mouse.click(place["x"] + 200, place["y"] + 52)
    page.wait_for_url("**/task?*", timeout=30_000)
    page.get_by_text("small-b answers now.").wait_for(timeout=30_000)
    assert "task=shifted" in page.url
    assert seen.errors == []
    assert seen.strangers() == []


def test_a_deep_link_opens_the_task_in_its_range(address: str, seen: Seen) -> None:
    page = seen.page
    page.goto(f"{address}/task?task=shifted&range=3d")
    page.get_by_text("small-b answers now.").wait_for(timeout=60_000)
    page.get_by_text("every hour, UTC").wait_for(timeout=30_000)
    page.locator("[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg").nth(5).wait_for(
        timeout=30_000
    )
    assert "range=3d" in page.url
    chart, command = (
        page.locator(f"[data-testid={part}]").first.bounding_box() for part in ("stVegaLiteChart", "stCode")
    )
    # The first chart ends where the longer card beside it ends.
    assert abs(chart["y"] + chart["height"] - command["y"] - command["height"]) < 30
    assert seen.shows_something()
    page.get_by_text("30d", exact=True).click()
    page.get_by_text("every 6 hours, UTC").wait_for(timeout=30_000)
    assert "range=30d" in page.url
    assert "task=shifted" in page.url
    assert seen.errors == []
    assert seen.strangers() == []


def test_a_task_is_chosen_where_the_address_names_none_there_is(address: str, browser: Any) -> None:
    seen = Seen(browser, "light")
    page = seen.page
    page.goto(f"{address}/task?task=nosuch")
    page.get_by_text("There is no task nosuch in this store").wait_for(timeout=60_000)
    page.locator("[data-testid=stSelectbox] input").click()
    page.get_by_role("option", name="shifted").click()
    page.get_by_text("small-b answers now.").wait_for(timeout=30_000)
    assert "task=shifted" in page.url
    assert seen.errors == []
    seen.context.close()


@pytest.mark.parametrize("name", list(HOSTILE.values()))
def test_a_hostile_name_fetches_nothing_and_runs_nothing(address: str, browser: Any, name: str) -> None:
    from urllib.parse import quote

    seen = Seen(browser, "light")
    seen.page.goto(f"{address}/task?task={quote(name, safe='')}")
    seen.page.get_by_text("What if τ moved").wait_for(timeout=60_000)
    seen.page.locator("[data-testid=stSelectbox] input").click()
    seen.page.wait_for_timeout(500)
    assert seen.page.title() != "taken"
    assert seen.strangers() == []
    assert seen.errors == []
    seen.context.close()
