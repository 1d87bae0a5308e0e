from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.chromium import OPTIONS, REASON, find_chromium
from tests.browser.viewer import Viewer
from tests.support.valkey import module_redis_url

__all__ = ["module_redis_url"]
expect.set_options(timeout=20_000)  # patience for a busy machine; a test waits no longer than it has to
Open = Callable[[str], Viewer]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium; tests that need it are skipped where there is none."""
    path = find_chromium()
    if path is None:
        pytest.skip(REASON)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=OPTIONS)
        yield running
        running.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Open]:
    """Opens a tab on a gateway in a profile of its own."""
    contexts = []

    def open_tab(base: str) -> Viewer:
        contexts.append(browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce"))
        return Viewer(contexts[-1], base)

    yield open_tab
    for context in contexts:
        context.close()
