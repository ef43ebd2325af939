"""The option `--layout` of the commands that take a data set."""

from __future__ import annotations

from argparse import ArgumentParser

from swin_unetr.datasets.readers import AUTO, CHOICES


def add_layout_argument(parser: ArgumentParser, of: str) -> None:
    """Give a parser the option `--layout`, which accepts the names of the registry.

    Args:
        parser: takes the option.
        of: what has the layout, for the help text.
    """
    recognised = f"layout of {of}; {AUTO} recognises it from the files"
    parser.add_argument("--layout", choices=CHOICES, default=AUTO, help=recognised)
