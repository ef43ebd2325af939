"""A folder of images, alone or with labels of the same name: `images/` beside `labels/`, or just files."""

from __future__ import annotations

from pathlib import Path

from swin_unetr.datasets.case import Case, Dataset
from swin_unetr.datasets.decathlon import DESCRIPTION as DECATHLON
from swin_unetr.datasets.decathlon import read_decathlon_task
from swin_unetr.datasets.listing import image_suffix, images_by_stem, stem

#: Names of the folders of images and of labels.
PAIRS = (("images", "labels"), ("imagesTr", "labelsTr"))


def read_plain(root: Path) -> Dataset:
    """List a folder of images, or a single image file. Every file is one case.

    Raises:
        DataError: two images of one name, or a `dataset.json` that is wrong.
    """
    if root.is_file():
        return Dataset(root=root.parent, layout="plain", cases=(Case(id=stem(root), images=(root,)),))
    images, labels = next(((root / one, root / two) for one, two in PAIRS if (root / one).is_dir()), (root, None))
    labelled = images_by_stem(labels) if labels is not None and labels.is_dir() else {}
    cases = tuple(
        Case(id=name, images=(path,), label=labelled.get(name)) for name, path in images_by_stem(images).items()
    )
    described = root / DECATHLON  # nnU-Net's has labels and channels alone
    task = read_decathlon_task(described) if described.is_file() else None
    return Dataset(root=root, layout="plain", cases=cases, task=task)


def is_image_file(path: Path) -> bool:
    """Whether a path is a single image file."""
    return path.is_file() and image_suffix(path) is not None
