"""A person at the console: opens pages, waits for them, keeps pictures, and notes whatever the browser complains of."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, Request, ViewportSize

SHOWN = "main:not([aria-busy]) h1"
PICTURES = Path(__file__).parents[2] / ".artifacts" / "console"
WIDE, NARROW = ViewportSize(width=1280, height=900), ViewportSize(width=390, height=844)
GRAVE = ("serious", "critical")
AXE = {"resultTypes": ["violations"], "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}


@dataclass
class Viewer:
    """One tab. `complaints` are console errors and uncaught exceptions, `requests` all that the tab asked for."""

    context: BrowserContext
    base: str
    complaints: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.page.on("console", lambda said: self.complaints.extend([said.text] if said.type == "error" else []))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self.note)

    def note(self, request: Request) -> None:
        """Keeps a request: Playwright cannot listen with a list's own method."""
        self.requests.append(request)

    def open(self, path: str) -> Page:
        """A page of the console, once it is drawn."""
        if self.page.url.startswith(self.base):
            self.page.evaluate("path => { document.querySelector('main').setAttribute('aria-busy', 'true'); }", path)
            if self.page.url == f"{self.base}/#{path}":
                self.page.reload()
        self.page.goto(f"{self.base}/#{path}")
        self.page.wait_for_selector(SHOWN)
        return self.page

    def text(self) -> str:
        """What the page says."""
        return self.page.inner_text("main")

    def grave_findings(self) -> list[str]:
        """Serious and critical findings of axe, each with the first element it names."""
        found: dict[str, Any] = Axe().run(self.page, options=AXE).response
        return [
            f"{one['id']}: {one['help']} at {one['nodes'][0]['html'][:160]}"
            for one in found["violations"]
            if one["impact"] in GRAVE
        ]

    def picture(self, name: str, checked: tuple[str, ...] = ("light", "dark")) -> list[str]:
        """Pictures in both themes at both widths; findings of axe, and how far the page is too wide, in pixels.

        axe takes a second of a core: `checked` names the themes that it looks at, the first at both widths.
        """
        PICTURES.mkdir(parents=True, exist_ok=True)
        findings = []
        for theme in ("light", "dark"):
            self.page.emulate_media(color_scheme=theme)
            for size in (WIDE, NARROW):
                self.page.set_viewport_size(size)
                self.page.wait_for_selector(SHOWN)
                if theme == checked[0] or (theme in checked and size is WIDE):
                    findings += [f"{name}, {theme} at {size['width']}: {one}" for one in self.grave_findings()]
                over = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
                findings += [f"{name} at {size['width']}: {over} pixels too wide"] if over > 0 else []
                self.page.screenshot(path=PICTURES / f"{name}-{theme}-{size['width']}.png")
        self.page.set_viewport_size(WIDE)
        return findings
