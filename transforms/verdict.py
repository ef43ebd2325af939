"""What a file is, decided once from its header, with the reasons: every command reads it through this."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from transforms.geometry import Geometry

#: What a file holds. A picture has two dimensions only or colours; a time series has several volumes of one scan.
FileKind = Literal["scan", "label map", "picture", "time series", "segmentation", "contours", "other object"]


@dataclass(frozen=True)
class Note:
    """Something odd about a file that does not stop its use.

    Attributes:
        code: code of the doctor's finding, such as "units" or "forms-disagree".
        words: what was found, and what was done about it; they follow the name of the file.
        path: the file, where it is not the one that was asked for (a slice in a folder).
    """

    code: str
    words: str
    path: Path | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Verdict:
    """How a file is read.

    Attributes:
        path: an image file, or a folder with a DICOM series.
        kind: what it holds, as far as its header tells.
        geometry: the grid in RAS millimetres, after units were converted and header fields were checked against
            each other.
        channels: volumes along the fourth axis.
        dtype: type of the values that `read_stored` gives.
        notes: what is odd, and how it was decided.
    """

    path: Path
    kind: FileKind
    geometry: Geometry
    channels: int
    dtype: np.dtype[Any]
    notes: tuple[Note, ...] = ()
