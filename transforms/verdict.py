"""What a file is, decided once from its header, with the reasons, for every command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from swin_unetr.errors import DataError
from transforms.geometry import Geometry
from transforms.note import Note as Note

#: What a file holds. A picture has two dimensions only or colours; a time series has several volumes of one scan.
FileKind = Literal["scan", "label map", "picture", "time series", "segmentation", "contours", "other object"]


class RefusedError(DataError):
    """A file cannot be used, for a reason that its header or its first bytes show.

    Attributes:
        code: code of the doctor's finding, such as "picture".
    """

    def __init__(self, message: str, code: str = "unreadable") -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep the code when it comes from another process."""
        return type(self), (str(self), self.code)


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
        label_names: names by label value that the file itself gives.
    """

    path: Path
    kind: FileKind
    geometry: Geometry
    channels: int
    dtype: np.dtype[Any]
    notes: tuple[Note, ...] = ()
    label_names: tuple[tuple[int, str], ...] = ()
