"""The browser of the tests sees what it should: a request to elsewhere and an error are not missed."""

from __future__ import annotations


def test_the_browser_tells_of_requests_and_errors(browser, tmp_path):
    page = browser("--host-resolver-rules=MAP * 127.0.0.1:1")
    quiet = tmp_path / "quiet.html"
    quiet.write_text("<!doctype html><title>quiet</title><p id=p>text</p>")
    page.open(quiet, width=640)
    assert page.run("return [document.title, innerWidth]") == ["quiet", 640]
    assert (page.strangers(), page.complaints()) == ([], [])
    assert page.requests() == [quiet.as_uri()]

    loud = tmp_path / "loud.html"
    loud.write_text(
        "<!doctype html><title>loud</title><img src='http://elsewhere.invalid/x.png'><script>oops()</script>"
    )
    page.open(loud)
    assert page.strangers() == ["http://elsewhere.invalid/x.png"]
    assert any("oops" in message for message in page.complaints())
