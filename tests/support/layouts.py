"""Folders of empty files in some layout, and what `read_dataset` makes of them."""

from pathlib import Path
from typing import Any

import pytest

from swin_unetr.datasets import read_dataset
from swin_unetr.datasets.case import Dataset
from swin_unetr.errors import DataError


def touch(root: Path, *names: str) -> Path:
    """Empty files, and hidden ones beside them as macOS leaves them on foreign disks."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        path.with_name(f"._{path.name}").touch()
    return root


def listed(dataset: Dataset) -> dict[str, tuple[list[str], str | None]]:
    """Paths below the root by case, in the order of the cases."""

    def below(path: Path) -> str:
        return path.relative_to(dataset.root).as_posix()

    return {
        case.id: ([below(image) for image in case.images], case.label and below(case.label)) for case in dataset.cases
    }


def refused(root: Path, **arguments: Any) -> str:
    with pytest.raises(DataError) as error:
        read_dataset(root, **{"require_labels": True, **arguments})
    message = str(error.value)
    assert "\n" not in message
    assert str(root) in message
    assert error.value.exit_code == 1
    return message
