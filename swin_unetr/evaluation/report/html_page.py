"""One self-contained HTML file from a body, scripts of ours and data: it loads nothing from elsewhere."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from swin_unetr.evaluation.scoring import scoring_text
from swin_unetr.files import plain_json

#: The browser itself refuses what would leave the page.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def page(
    title: str,
    body: str,
    script: str | Sequence[str],
    data: Mapping[str, Any],
    package: str = "swin_unetr.evaluation.report",
    *,
    scoring: bool = False,
) -> str:
    """The file's text.

    Args:
        title: title of the window, any text.
        body: name of the HTML in the folder `page` of the package.
        script: name of the JavaScript there, which runs after `plots.js`; or several, in their order.
        data: what the script shows; may hold any text, since it cannot end the element that it stands in.
        package: that has `body` and `script`.
        scoring: end the page with how cases are scored, under the anchor "scoring".
    """
    common = files("swin_unetr.evaluation.report") / "page"
    read = {name: (common / name).read_text(encoding="utf-8") for name in ("plots.js", "page.css")}
    scripts = [script] if isinstance(script, str) else [*script]
    read |= {name: (files(package) / "page" / name).read_text(encoding="utf-8") for name in (body, *scripts)}
    text = json.dumps(plain_json(data), ensure_ascii=False, separators=(",", ":"), default=str, allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            f'<title>{html.escape(title)}</title><link rel="icon" href="data:,">',
            f"<style>{read['page.css']}</style></head><body>",
            read[body],
            f'<section id="scoring">{_scoring()}</section>' if scoring else "",
            f'<script type="application/json" id="data">{text}</script>',
            f"<script>{read['plots.js']}</script>",
            *(f"<script>{read[name]}</script>" for name in scripts),
            "</body></html>",
        ]
    )


def _scoring() -> str:
    """How cases are scored, as HTML whose headings stand below those of the page."""
    from markdown_it import MarkdownIt

    markdown = MarkdownIt().enable("table")
    tokens = markdown.parse(scoring_text())
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{int(token.tag[1]) + 1}"
    text = str(markdown.renderer.render(tokens, markdown.options, {}))
    return text.replace("<table>", '<div class="scroll"><table>').replace("</table>", "</table></div>")
