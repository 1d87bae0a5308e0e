"""Finds the browser: Debian's chromium, or what SENSE_TEST_CHROMIUM names, or one that Playwright has installed."""

import os
import shutil
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
OPTIONS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]  # CI runs as root, in a small /dev/shm
REASON = "no Chromium: `apt-get install chromium`, or name one by SENSE_TEST_CHROMIUM"


def find_chromium() -> str | None:
    """The executable's path; None where there is none."""
    if named := os.environ.get("SENSE_TEST_CHROMIUM"):
        return named
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found:
        return found
    installed = sorted(Path.home().glob(".cache/ms-playwright/chromium*/chrome-linux*/*chrom*"))
    return next((str(path) for path in reversed(installed) if os.access(path, os.X_OK) and path.is_file()), None)
