"""`python -m swin_unetr` is the command `swin-unetr`."""

from swin_unetr.cli import console

console()
