"""A real browser without a screen, that tells what it asked the network for and what it complained of."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

#: No sandbox, since CI is root; nothing that calls home.
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
)


class Page:
    """A browser window with the record of its requests and messages.

    Attributes:
        driver: selenium's, for all that is not here.
    """

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self._requests: list[str] = []
        self._messages: list[dict[str, Any]] = []

    def open(self, address: str | Path, width: int = 1280, height: int = 900) -> None:
        """Open a file or an address in a window whose inside has this size."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get(address.absolute().as_uri() if isinstance(address, Path) else address)

    def run(self, script: str, *arguments: Any) -> Any:
        """What a JavaScript function body returns."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, script: str, seconds: float = 20) -> Any:
        """Wait until a JavaScript function body returns something true, and give that."""
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, seconds, poll_frequency=0.1).until(lambda _: self.run(script), script)

    def screenshot(self, path: Path, *, whole: bool = False) -> Path:
        """Write a PNG of the window, or of the whole page."""
        import base64

        shot = self.driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"format": "png", "captureBeyondViewport": whole, "fromSurface": True}
        )
        path.write_bytes(base64.b64decode(shot["data"]))
        return path

    def requests(self) -> list[str]:
        """Addresses that the page has asked for so far; `data:` and `blob:` stay inside it and are left out."""
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated"):
                parameters = message["params"]
                self._requests.append(parameters.get("url") or parameters["request"]["url"])
        return [
            url
            for url in self._requests
            if urlsplit(url).scheme not in ("data", "blob", "about", "chrome", "chrome-untrusted")
        ]

    def complaints(self) -> list[str]:
        """Errors and warnings of the console so far, other than those of the machine's graphics."""
        self._messages += self.driver.get_log("browser")
        worth = [entry for entry in self._messages if entry["level"] in ("SEVERE", "WARNING")]
        return [entry["message"] for entry in worth if "GL Driver Message" not in entry["message"]]

    def strangers(self) -> list[str]:
        """Requests that went neither to a file nor to this machine."""
        return [
            url
            for url in self.requests()
            if urlsplit(url).scheme != "file" and urlsplit(url).hostname not in ("127.0.0.1", "localhost")
        ]


@pytest.fixture
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Page]]:
    """Start a browser: `browser(*more_flags) -> Page`. Skipped where Debian's chromium and its driver are not."""
    chromium, driver_path = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver_path is None:
        pytest.skip("no chromium and chromedriver on PATH; on Debian: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is in the extra dev")
    from selenium.webdriver.chrome.service import Service

    started = []

    def start(*more_flags: str) -> Page:
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        # A profile of its own, empty: nothing is remembered from elsewhere.
        for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}", *more_flags):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        # The path of the driver is given, so that selenium looks for none and downloads none.
        driver = webdriver.Chrome(options=options, service=Service(driver_path))
        started.append(driver)
        return Page(driver)

    yield start
    for driver in started:
        driver.quit()
