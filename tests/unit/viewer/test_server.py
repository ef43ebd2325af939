"""The viewer's server: what it serves, to whom, and what it keeps open."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from viewing import Paths, served, server_of_report, shifted_prediction

from swin_unetr.errors import ConfigError
from swin_unetr.viewer.server import ViewerServer, page_file


@pytest.fixture
def shifted(phantom_data: Path, tmp_path: Path) -> Paths:
    return shifted_prediction(phantom_data, tmp_path)


@pytest.fixture
def server(shifted: Paths, tmp_path: Path) -> Iterator[ViewerServer]:
    with served(server_of_report(shifted, tmp_path)) as running:
        yield running


def status(url: str, **headers: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_only_the_listed_files_are_served_and_only_to_who_knows_the_way(server):
    base = server.url.removesuffix("report.html")
    assert server.server_address[0] == "127.0.0.1"
    assert status(server.url) == 200
    assert status(base + "case.json?case=one") == 200
    assert status(server.url, Host="attacker.example") == 403
    assert status(server.url.replace(server.secret, "x")) == 404
    for name in ("results.json", "../results.json", "%2e%2e/results.json", "case.json?case=three", "gone.nii.gz", ""):
        assert status(base + name) == 404, name


def test_a_scan_is_served_byte_for_byte(server: ViewerServer, shifted: Paths) -> None:
    base = server.url.removesuffix("report.html")
    with urllib.request.urlopen(base + "case.json?case=one") as answer:
        description = json.loads(answer.read())
        assert answer.headers["Cache-Control"] == "no-store"
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert description["report"] is True
    with urllib.request.urlopen(f"{base}{description['scans'][0]['url']}?case=one") as answer:
        assert answer.read() == shifted[0].read_bytes()


def test_a_case_that_cannot_be_opened_says_why(server: ViewerServer) -> None:
    with urllib.request.urlopen(server.url.replace("report.html", "case.json?case=two")) as answer:
        assert "gone.nii.gz: no such file" in json.loads(answer.read())["error"]


def test_the_last_cases_stay_open(shifted: Paths, tmp_path: Path) -> None:
    server = server_of_report(shifted, tmp_path)
    try:
        server.cases.update({name: server.cases["one"] for name in ("b", "c")})
        first, second = server.scene("one"), server.scene("b")
        assert server.scene("one") is first
        server.scene("c")  # closes b, which was not looked at for longest
        assert server.scene("one") is first
        assert server.scene("b") is not second
    finally:
        server.server_close()


def test_a_port_that_is_taken(server: ViewerServer) -> None:
    with pytest.raises(ConfigError, match=r"^port: \d+ cannot be used"):
        ViewerServer({}, port=server.server_address[1])


@pytest.mark.parametrize("name", ["", "server.py", "../server.py", "page", "view.html/", "VIEW.HTML"])
def test_only_the_page_itself_is_a_file_of_the_page(name: str) -> None:
    assert page_file(name) is None
    page = page_file("view.html")
    assert page is not None
    assert b"<html" in page()
