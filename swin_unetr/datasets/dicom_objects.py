"""What a file is, by its first bytes: whether it is DICOM, and what its class (SOP class) holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

#: "slice": a file with one picture. "frames": one file with many, each with its own place (Enhanced multi-frame).
ObjectKind = Literal["slice", "frames", "segmentation", "contours", "other object"]

#: A DICOM file says so after its preamble; some programs leave out both.
_MAGIC, _MAGIC_AT = b"DICM", 128
DICOM_SUFFIXES = (".dcm", ".ima")
#: File name of the index of a disc with DICOM files.
INDEX = "DICOMDIR"
#: Where the class of the object is named: in the file's own group, and in the object.
_OF_FILE, _OF_OBJECT = (0x0002, 0x0002), (0x0008, 0x0016)
_HEADER_BYTES = 4096
#: Value representations whose length takes four bytes, after two that are empty; and the others.
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_SHORT = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
#: No value before the class is longer.
_LONGEST = 1024

_STORAGE = "1.2.840.10008.5.1.4.1.1."
#: What a class holds, by the end of its UID, or by a start of that end if the key ends with a dot; the longest counts.
_CLASSES: dict[str, tuple[ObjectKind, str]] = {
    "2.1": ("frames", "an Enhanced CT image"),
    "2.2": ("frames", "a Legacy Converted Enhanced CT image"),
    "4.1": ("frames", "an Enhanced MR image"),
    "4.3": ("frames", "an Enhanced MR Color image"),
    "4.4": ("frames", "a Legacy Converted Enhanced MR image"),
    "6.2": ("frames", "an Enhanced US Volume"),
    "13.1.": ("frames", "an X-Ray 3D image"),
    "30": ("frames", "a Parametric Map"),
    "128.1": ("frames", "a Legacy Converted Enhanced PET image"),
    "130": ("frames", "an Enhanced PET image"),
    "66.4": ("segmentation", "a segmentation (SEG)"),
    "66.5": ("segmentation", "a Surface Segmentation"),
    "66.7": ("segmentation", "a Label Map Segmentation (SEG)"),
    "66.8": ("segmentation", "a Height Map Segmentation"),
    "481.3": ("contours", "a set of contours (RTSTRUCT)"),
    "4.2": ("other object", "an MR Spectroscopy object"),
    "9.": ("other object", "a waveform"),
    "11.": ("other object", "a presentation state (PR)"),
    "66": ("other object", "raw data"),
    "66.1": ("other object", "a registration"),
    "66.2": ("other object", "a set of fiducials"),
    "66.3": ("other object", "a deformable registration"),
    "66.6": ("other object", "a set of tracts"),
    "67": ("other object", "a Real World Value Mapping"),
    "68.": ("other object", "a surface mesh"),
    "77.": ("other object", "a photograph or a slide"),
    "78.": ("other object", "a measurement of the eye"),
    "88.": ("other object", "a report (SR)"),
    "88.59": ("other object", "a selection of key images (KO)"),
    "90.1": ("other object", "an assessment"),
    "104.": ("other object", "a document"),
    "481.": ("other object", "a radiotherapy record"),
    "481.1": ("other object", "a radiotherapy image (RTIMAGE)"),
    "481.2": ("other object", "a dose (RTDOSE)"),
    "481.5": ("other object", "a radiotherapy plan (RTPLAN)"),
    "481.8": ("other object", "a radiotherapy plan (RTPLAN)"),
}
_DIRECTORY = "1.2.840.10008.1.3.10"


@dataclass(frozen=True)
class DicomObject:
    """What the class of an object means.

    Attributes:
        kind: what it holds.
        name: in words that follow "is".
    """

    kind: ObjectKind
    name: str

    @property
    def is_image(self) -> bool:
        """Whether it can be a scan, or a part of one."""
        return self.kind in ("slice", "frames")


def is_dicom(path: Path) -> bool:
    """Whether a file says by its name or its first bytes that it is DICOM."""
    return path.suffix.lower() in DICOM_SUFFIXES or _start(_head(path)) is not None


def dicom_object(path: Path) -> DicomObject:
    """What a DICOM file holds, by its class; one without a class, or of an unknown one, counts as a slice."""
    uid = "" if path.name != INDEX else _DIRECTORY
    if not uid:
        head = _head(path)
        start = _start(head)
        values = {} if start is None else dict(_elements(head, start))
        uid = (values.get(_OF_OBJECT) or values.get(_OF_FILE) or b"").decode("ascii", "replace").strip("\0 ")
    if uid == _DIRECTORY:
        return DicomObject("other object", f"the index of a disc ({INDEX})")
    own = uid.removeprefix(_STORAGE) if uid.startswith(_STORAGE) else ""
    fitting = [key for key in _CLASSES if key == own or (key.endswith(".") and own.startswith(key))]
    kind, name = _CLASSES[max(fitting, key=len)] if fitting else ("slice", "an image")
    return DicomObject(kind, name)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEADER_BYTES)
    except OSError:
        return b""


def _start(head: bytes) -> int | None:
    """Where the first element lies; None if the bytes are not DICOM."""
    if head[_MAGIC_AT : _MAGIC_AT + len(_MAGIC)] == _MAGIC:
        return _MAGIC_AT + len(_MAGIC)
    # Without a preamble: two elements at least, of the first groups that an object has, in ascending order.
    tags = [tag for tag, _ in _elements(head, 0)]
    return 0 if len(tags) > 1 and tags[0][0] in (0x0002, 0x0008) else None


def _elements(head: bytes, at: int) -> Iterator[tuple[tuple[int, int], bytes]]:
    """Tag and value of the first elements, as far as they are short and in ascending order."""
    last = (0, 0)
    while at + 8 <= len(head):
        tag = (int.from_bytes(head[at : at + 2], "little"), int.from_bytes(head[at + 2 : at + 4], "little"))
        kind = head[at + 4 : at + 6]
        if kind in _LONG:
            start, length = at + 12, int.from_bytes(head[at + 8 : at + 12], "little")
        elif kind in _SHORT:
            start, length = at + 8, int.from_bytes(head[at + 6 : at + 8], "little")
        else:
            start, length = at + 8, int.from_bytes(head[at + 4 : at + 8], "little")
        if tag <= last or tag > _OF_OBJECT or length > _LONGEST:
            return
        yield tag, head[start : start + length]
        last, at = tag, start + length
