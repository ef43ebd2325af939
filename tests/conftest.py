"""What the tests share: where real data lies, and phantoms made once a session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Set before any test imports torch or matplotlib: small tensors gain nothing from many threads, and there is no screen.
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("MPLBACKEND", "Agg")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The folder that holds pyproject.toml."""
    return ROOT


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real data; a test that asks for it is skipped where there is none."""
    folder = Path(os.environ.get("SWIN_UNETR_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set SWIN_UNETR_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def phantom_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six labelled CT phantoms and two held back, 32x32x24 voxels, in the Decathlon's layout. Not to be written to.

    `imagesTr`, `labelsTr` (phantom_000 ... phantom_005), `imagesTs`, `labelsTs` (phantom_006, phantom_007),
    `dataset.json`; every second case is stored in LPS, every third a little oblique.
    """
    from swin_unetr.phantoms import make_phantoms

    return make_phantoms(tmp_path_factory.mktemp("phantoms") / "data", cases=6, held_back=2, size=(32, 32, 24))
