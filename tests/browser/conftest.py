"""Pages in a real browser: a Chromium of this machine, without a network, which records what goes wrong."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator:
    """The browser that POSECORE_BROWSER names, else the first one in PATH."""
    reason = "needs playwright: make test-browser installs it (requirements/browser.txt)"
    api = pytest.importorskip("playwright.sync_api", reason=reason)
    named = os.environ.get("POSECORE_BROWSER")
    found = named or next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        pytest.fail(
            f"no browser is found: none of {', '.join(BROWSERS)} is in PATH. Install one (on Debian: apt-get "
            "install chromium), or name it: make test-browser BROWSER=/path/to/chromium"
        )
    with api.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def show(browser) -> Iterator[Callable]:
    """Opens a file at a width in a color scheme; the console must be silent when the test ends."""
    contexts, messages = [], []

    def start(file: Path, width: int = 1280, scheme: str = "light"):
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            offline=True,
            reduced_motion="reduce",
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("request", lambda request: _note(request.url, messages))
        page.goto(file.as_uri())
        return page

    yield start
    for context in contexts:
        context.close()
    assert not messages


def _note(address: str, messages: list[str]) -> None:
    if not address.startswith(("file:", "data:")):
        messages.append(f"the page asks for {address}")
