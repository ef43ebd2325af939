"""Scans as DICOM."""

from __future__ import annotations

from pathlib import Path

import pytest
from dicom_results import write_frames, write_series


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """A CT of single slices with a tilted gantry, rotated in plane, whose file names run from bottom to top."""
    return write_series(tmp_path / "series")


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """An Enhanced MR whose frames are stored in another order than they lie."""
    return write_frames(tmp_path / "frames.dcm")
