"""Sizes of memory, as people write them. Knows no torch."""

from __future__ import annotations

import re

from swin_unetr.errors import ConfigError

_UNITS = {unit: 1000**power for power, unit in enumerate(("B", "KB", "MB", "GB", "TB"))}
_UNITS |= {unit: 1024**power for power, unit in enumerate(("KIB", "MIB", "GIB", "TIB"), start=1)}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?I?B)", re.IGNORECASE)


def parse_size(text: str, field: str = "max_memory") -> int:
    """Bytes of "4GB", "500 MB", "3.5GiB"; GB are 10^9 bytes and GiB 2^30.

    Args:
        text: a number and its unit.
        field: named in the error.

    Raises:
        ConfigError: it is no size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or not (size := int(float(match[1]) * _UNITS[match[2].upper()])):
        raise ConfigError(f"{field}: {text!r} is no size; give a number with its unit, such as 4GB, 500MB or 4GiB")
    return size


def size_in_words(size: float) -> str:
    """Bytes in the unit that suits them, such as "3.8 GB" or "512 MB"."""
    for unit in ("TB", "GB", "MB", "KB"):
        if size >= (least := _UNITS[unit]):
            return f"{size / least:.1f} {unit}" if size < 10 * least else f"{size / least:.0f} {unit}"
    return f"{size:.0f} bytes"
