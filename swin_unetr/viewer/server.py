"""Serves the viewer's page and the volumes of its cases to this machine's browser, and to nothing else."""

from __future__ import annotations

import json
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from swin_unetr.errors import ConfigError, SwinUnetrError
from swin_unetr.viewer.scene import CaseFiles, Scene, open_scene

ADDRESS = "127.0.0.1"
#: Names by which a browser may reach it; another one in `Host` is a web site that points its name here.
_HOSTS = (ADDRESS, "localhost")
#: Cases kept open at a time: their label maps are in memory.
_OPEN = 2
_TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css"}
_POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; connect-src 'self' data: blob:; frame-ancestors 'none'; form-action 'none'"
)


class ViewerServer(ThreadingHTTPServer):
    """A server on a port of this machine. Everything lies under a secret path, since others may share the machine."""

    daemon_threads = True

    def __init__(self, cases: dict[str, CaseFiles], *, report: Path | None = None, port: int = 0) -> None:
        """Take a port.

        Args:
            cases: what may be looked at, by id.
            report: an HTML page that links to `view.html?case=ID`.
            port: 0 takes a free one.

        Raises:
            ConfigError: the port is taken.
        """
        self.cases, self.report, self.secret = cases, report, secrets.token_urlsafe(16)
        self._scenes: OrderedDict[str, Scene] = OrderedDict()
        self._lock = threading.Lock()
        try:
            super().__init__((ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            raise ConfigError(f"port: {port} cannot be used ({error}); leave --port out for a free one") from error

    @property
    def url(self) -> str:
        """Where a browser begins."""
        start = "report.html" if self.report else "view.html"
        return f"http://{ADDRESS}:{self.server_address[1]}/{self.secret}/{start}"

    def scene(self, case: str) -> Scene:
        """An opened case; the last ones are kept."""
        with self._lock:
            scene = self._scenes.pop(case, None) or open_scene(self.cases[case])
            self._scenes[case] = scene
            while len(self._scenes) > _OPEN:
                self._scenes.popitem(last=False)
            return scene


class _Handler(BaseHTTPRequestHandler):
    server: ViewerServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "swin-unetr", ""

    def do_GET(self) -> None:
        """Answer with a file of the page, the report, a case's description or one of its volumes."""
        if (self.headers.get("Host") or "").rpartition(":")[0] not in _HOSTS:
            return self._refuse(HTTPStatus.FORBIDDEN)
        address = urlsplit(self.path)
        _, secret, *rest = unquote(address.path).split("/")
        if not secrets.compare_digest(secret.encode(), self.server.secret.encode()) or len(rest) != 1:
            return self._refuse(HTTPStatus.NOT_FOUND)
        case = parse_qs(address.query).get("case", [next(iter(self.server.cases), "")])[0]
        try:
            self._answer(rest[0], case)
        except SwinUnetrError as error:
            self._send(json.dumps({"error": str(error)}).encode(), "application/json")
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _answer(self, name: str, case: str) -> None:
        page = page_file(name)
        if name == "report.html" and self.server.report is not None:
            self._send(self.server.report.read_bytes(), _TYPES[".html"])
        elif page is not None:
            self._send(page(), _TYPES[Path(name).suffix])
        elif case not in self.server.cases:
            self._refuse(HTTPStatus.NOT_FOUND)
        elif name == "case.json":
            description = {**self.server.scene(case).description, "report": self.server.report is not None}
            self._send(json.dumps(description).encode(), "application/json")
        elif name in (volumes := self.server.scene(case).volumes):
            content = volumes[name]
            self._send(content.read_bytes() if isinstance(content, Path) else content(), "application/octet-stream")
        else:
            self._refuse(HTTPStatus.NOT_FOUND)

    def _send(self, content: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.end_headers()
        self.wfile.write(content)

    def _refuse(self, status: HTTPStatus) -> None:
        self._send(status.phrase.encode(), "text/plain", status)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal is the user's."""


def page_file(name: str) -> Callable[[], bytes] | None:
    """How to read a file of the page by its name; None if there is no such file."""
    own = {"view.html": "page", "view.css": "page", "page.js": "page", "viewer.js": "page", "niivue.umd.js": "assets"}
    if name not in own:
        return None
    return (files("swin_unetr.viewer") / own[name] / name).read_bytes


def has_niivue() -> bool:
    """Whether the build has put NiiVue in."""
    return (files("swin_unetr.viewer") / "assets" / "niivue.umd.js").is_file()
