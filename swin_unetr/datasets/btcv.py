"""The layout of BTCV: `imagesTr/img0001.nii.gz` with `labelsTr/label0001.nii.gz`, tests in `imagesTs`."""

from __future__ import annotations

from pathlib import Path

from swin_unetr.datasets.case import Case, Dataset
from swin_unetr.datasets.listing import images_by_stem, scans_by_stem
from swin_unetr.datasets.reader import Reader
from swin_unetr.tasks import BTCV

IMAGE, LABEL = "img", "label"
#: Folders of images and of their labels; the challenge calls them "averaged", copies of it "Tr".
_FOLDERS = (("imagesTr", "labelsTr"), ("img", "label"))
_TESTS = "imagesTs"


def _case_of(label: str) -> str:
    return label.replace(LABEL, IMAGE, 1)


def is_btcv(root: Path) -> bool:
    """Whether a folder has images named as BTCV names them."""
    return any(
        any(name.startswith(IMAGE) and name[len(IMAGE) :].isdigit() for name in images_by_stem(root / images))
        for images in (*(images for images, _ in _FOLDERS), _TESTS)
        if (root / images).is_dir()
    )


def read_btcv(root: Path, *, with_test: bool) -> Dataset:
    """List the cases by the numbers in their names; the ids are those of the images.

    Args:
        root: the data set's folder.
        with_test: whether the cases without labels in `imagesTs` count too.
    """
    cases = []
    for images, labels in _FOLDERS:
        if not (root / images).is_dir():
            continue
        numbered = images_by_stem(root / labels, _case_of) if (root / labels).is_dir() else {}
        for name, image in scans_by_stem(root / images).items():
            label = numbered.get(name.replace(IMAGE, LABEL, 1))
            cases.append(Case(id=name, images=(image,), label=label))
    if with_test and (root / _TESTS).is_dir():
        cases += [Case(id=name, images=(image,)) for name, image in scans_by_stem(root / _TESTS).items()]
    return Dataset(root=root, layout=READER.name, cases=tuple(cases), task=BTCV)


READER = Reader(
    name="btcv",
    looks="imagesTr/img0001.nii.gz and labelsTr/label0001.nii.gz",
    structures="the 13 organs of BTCV",
    recognises=is_btcv,
    read=read_btcv,
)
