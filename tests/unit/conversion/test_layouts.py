"""`swin-unetr convert`: every layout into each that it writes, with what the labels mean."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from conversions import AFFINE, SHAPES, TARGETS, labels, require_same, run, scan, voxels, write_plain

from swin_unetr.conversion.run import convert
from swin_unetr.datasets import LAYOUTS, read_dataset
from swin_unetr.errors import ConfigError
from swin_unetr.tasks import Target, Task, brats
from transforms.geometry import Volume
from transforms.infer_task import settle_task
from transforms.io import write_volume


@pytest.mark.parametrize("to", TARGETS)
def test_every_layout_to_every_layout(tmp_path: Path, to: str) -> None:
    source = write_plain(tmp_path, "nii")
    run(source, to, tmp_path / "first")
    for other in TARGETS:
        run(tmp_path / "first", other, tmp_path / other, file_type="mha")
        one, two = (read_dataset(path, require_labels=False) for path in (source, tmp_path / other))
        assert (two.layout, two.task) == (other, one.task)
        require_same(one, two)


def test_regions_and_values_of_brats(tmp_path: Path) -> None:
    for case in ("a", "b"):
        for ending in ("flair", "t1ce"):
            write_volume(tmp_path / "brats" / case / f"{case}_{ending}.nii.gz", scan(SHAPES[0]))
        write_volume(tmp_path / "brats" / case / f"{case}_seg.nii.gz", labels(SHAPES[0], 1, 2, 4))
    before = read_dataset(tmp_path / "brats", require_labels=True)
    assert run(tmp_path / "brats", "decathlon", tmp_path / "decathlon").renumbered == {}
    report = run(tmp_path / "brats", "nnunet", tmp_path / "nnunet")
    assert report.renumbered == {1: 1, 2: 2, 4: 3}
    decathlon, nnunet = (read_dataset(tmp_path / name, require_labels=True) for name in ("decathlon", "nnunet"))
    require_same(before, decathlon)
    assert decathlon.task == settle_task(before) == brats("brats2021", ("FLAIR", "T1ce"))
    described = json.loads((tmp_path / "decathlon" / "dataset.json").read_text())["labels"]
    assert described == {"0": "background", "1": "TC+WT", "2": "WT", "4": "ET+TC+WT"}
    described = json.loads((tmp_path / "nnunet" / "dataset.json").read_text())
    assert described["labels"] == {"background": 0, "WT": [1, 2, 3], "TC": [1, 3], "ET": [3]}
    assert described["regions_class_order"] == [2, 1, 3]
    for case, (channels, label, _) in voxels(before).items():
        assert label is not None
        np.testing.assert_array_equal(voxels(nnunet)[case][1], np.where(label == 4, 3, label))
        np.testing.assert_array_equal(voxels(nnunet)[case][0], channels)
    assert nnunet.task is not None
    assert [target.labels for target in nnunet.task.targets] == [(1, 3), (1, 2, 3), (3,)]


def test_what_nobody_labelled_comes_last_for_nnunet(tmp_path: Path) -> None:
    write_volume(tmp_path / "data" / "images" / "a.nrrd", scan(SHAPES[0]))
    write_volume(tmp_path / "data" / "labels" / "a.nrrd", labels(SHAPES[0], 2, 5, 9))
    task = Task(
        name="t",
        modality="CT",
        channels=("CT",),
        targets=(Target(name="far", labels=(9,), write_as=9),),
        other_labels=(5,),
        ignore_label=2,
    )
    (tmp_path / "data" / "task.yaml").write_text(
        "name: t\nmodality: CT\nchannels: [CT]\nother_labels: [5]\nignore_label: 2\n"
        "targets:\n- {name: far, labels: [9], write_as: 9}\n"
    )
    assert read_dataset(tmp_path / "data", require_labels=True).task == task
    assert run(tmp_path / "data", "nnunet", tmp_path / "raw").renumbered == {5: 1, 9: 2, 2: 3}
    described = json.loads((tmp_path / "raw" / "dataset.json").read_text())
    assert described["labels"] == {"background": 0, "far": 2, "other 1": 1, "ignore": 3}
    after = read_dataset(tmp_path / "raw", require_labels=True).task
    assert after is not None
    assert (after.targets[0].labels, after.other_labels, after.ignore_label) == ((2,), (1,), 3)


#: Files of a case in each layout that can be read: of its two channels (or one) and of its label.
WHERE = {
    "nnunet": ("imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz", "labelsTr/a.nii.gz"),
    "decathlon": ("x/a.mha", "y/a.nrrd"),
    "btcv": ("imagesTr/img0001.nii.gz", "labelsTr/label0001.nii.gz"),
    "brats": ("a/a-t2f.nii", "a/a-t1c.nii", "a/a-seg.nii"),
    "bids": ("sub-a/anat/sub-a_FLAIR.nii", "sub-a/anat/sub-a_T1w.nii", "derivatives/m/sub-a/anat/sub-a_dseg.nii"),
    "folders": ("a/one.mha", "a/two.mha", "a/mask.nii.gz"),
    "list": ("1.nii", "2.nii", "3.nii"),
    "plain": ("images/a.mhd", "labels/a.hdr"),
}


DESCRIBED = {
    "nnunet": {"channel_names": {"0": "x", "1": "y"}, "labels": {"background": 0, "t": 1}, "file_ending": ".nii.gz"},
    "decathlon": {
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "t"},
        "training": [{"image": "x/a.mha", "label": "y/a.nrrd"}],
    },
}


def write_any(path: Path, volume: Volume) -> None:
    """The same in formats with two files, which only others write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".hdr":
        nibabel.save(nibabel.Nifti1Pair(volume.array[0], volume.geometry.affine), path)
    elif path.suffix == ".mhd":
        write_volume(path.with_suffix(".mha"), volume)
        sitk.WriteImage(sitk.ReadImage(str(path.with_suffix(".mha"))), str(path))
        path.with_suffix(".mha").unlink()
    else:
        write_volume(path, volume)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_understood_and_converted(tmp_path: Path, layout: str) -> None:
    root, shape = tmp_path / "in", SHAPES[LAYOUTS.index(layout) % 2]
    *images, label = WHERE[layout]
    channels = [scan(shape, seed=number) for number, _ in enumerate(images)]
    for path, volume in zip((*images, label), (*channels, labels(shape, 1)), strict=True):
        write_any(root / path, volume)
    if layout in DESCRIBED:
        (root / "dataset.json").write_text(json.dumps(DESCRIBED[layout]))
    if layout == "list":
        (root / "cases.csv").write_text("case,image_x,image_y,label\na,1.nii,2.nii,3.nii\n")
    for to in TARGETS:
        run(root, to, tmp_path / to, modality="MR")
        dataset = read_dataset(tmp_path / to, require_labels=True)
        ((found, mask, affines),) = voxels(dataset).values()
        np.testing.assert_array_equal(found, [volume.array[0] for volume in channels])
        np.testing.assert_array_equal(mask, labels(shape, 1).array)
        np.testing.assert_array_equal(affines, [AFFINE] * len(affines))
        assert json.loads((tmp_path / to / "convert.json").read_text())["layout"] == layout


def test_bids_with_its_patients(tmp_path: Path) -> None:
    for name in ("sub-1/ses-1/anat/sub-1_ses-1", "sub-1/ses-2/anat/sub-1_ses-2"):
        write_volume(tmp_path / "bids" / f"{name}_T1w.nii.gz", scan(SHAPES[0]))
        write_volume(tmp_path / "bids" / "derivatives" / "m" / f"{name}_dseg.nii.gz", labels(SHAPES[0], 1))
    for to in TARGETS:
        run(tmp_path / "bids", to, tmp_path / to, modality="MR")
        dataset = read_dataset(tmp_path / to, require_labels=True)
        assert dataset.groups == {"sub-1_ses-1": "sub-1", "sub-1_ses-2": "sub-1"}
        require_same(read_dataset(tmp_path / "bids", require_labels=True), dataset)


def test_a_modality_that_nobody_says(tmp_path: Path) -> None:
    write_volume(tmp_path / "d" / "images" / "a.mha", scan(SHAPES[0]))
    write_volume(tmp_path / "d" / "labels" / "a.mha", labels(SHAPES[0], 3))
    with pytest.raises(ConfigError, match=r"task\.yaml"):
        convert(tmp_path / "d", tmp_path / "out", to="decathlon", workers=1)
    run(tmp_path / "d", "decathlon", tmp_path / "out", modality="CT")
    task = read_dataset(tmp_path / "out", require_labels=True).task
    assert task is not None
    assert (task.modality, task.targets[0].name, task.targets[0].labels) == ("CT", "label 3", (3,))


MERGED = """name: t
modality: CT
channels: [CT]
targets:
- {name: liver, labels: [1, 2], write_as: 2}
- {name: kidney, labels: [7, 3], write_as: 7}
"""
OVERLAPPING = """name: t
modality: MR
channels: [T1]
activation: sigmoid
other_labels: [9]
targets:
- {name: whole, labels: [1, 2, 5, 6], write_as: 2}
- {name: core, labels: [1, 5, 6], write_as: 1}
- {name: part, labels: [5, 6], write_as: 5}
"""


@pytest.mark.parametrize("described", [MERGED, OVERLAPPING])
@pytest.mark.parametrize("to", TARGETS)
def test_every_voxel_is_declared_and_means_what_it_meant(tmp_path: Path, to: str, described: str) -> None:
    root = tmp_path / "data"
    write_volume(root / "images" / "a.nii.gz", scan(SHAPES[0]))
    values = (1, 2, 3, 7) if described == MERGED else (1, 2, 5, 6, 9)
    write_volume(root / "labels" / "a.nii.gz", labels(SHAPES[0], *values))
    (root / "task.yaml").write_text(described)
    report = run(root, to, tmp_path / "new")
    one, two = (read_dataset(path, require_labels=True) for path in (root, tmp_path / "new"))
    before, after = (voxels(dataset)["a"][1] for dataset in (one, two))
    assert before is not None
    assert after is not None
    assert one.task is not None
    assert two.task is not None
    assert set(np.unique(after)) <= two.task.known_labels
    for was, now in zip(one.task.targets, two.task.targets, strict=True):
        assert was.name == now.name
        np.testing.assert_array_equal(np.isin(before, was.labels), np.isin(after, now.labels))
    if to == "plain":
        assert not report.renumbered
        return
    # What other programs go by: every voxel has a name in the description, and of exclusive classes its structure's.
    listed = json.loads((tmp_path / "new" / "dataset.json").read_text())["labels"]
    if to == "decathlon":
        listed = {name: int(value) for value, name in listed.items()}
        assert set(np.unique(after)) <= set(listed.values())
    else:
        assert set(np.unique(after)) <= set(np.hstack(list(listed.values())))
    if described == MERGED:
        assert listed == {
            "background": 0,
            **({"liver": 2, "kidney": 7} if to == "decathlon" else {"liver": 1, "kidney": 2}),
        }
        for target in one.task.targets:
            np.testing.assert_array_equal(np.isin(before, target.labels), after == listed[target.name])


@pytest.mark.parametrize("to", ["decathlon", "nnunet"])
def test_a_value_that_is_not_declared_fails_its_case(tmp_path: Path, to: str) -> None:
    for case, values in (("a", (1, 2)), ("b", (1, 2, 4))):
        write_volume(tmp_path / "data" / "images" / f"{case}.nii.gz", scan(SHAPES[0]))
        write_volume(tmp_path / "data" / "labels" / f"{case}.nii.gz", labels(SHAPES[0], *values))
    (tmp_path / "data" / "task.yaml").write_text(
        "name: t\nmodality: CT\nchannels: [CT]\n"
        "targets:\n- {name: one, labels: [1], write_as: 1}\n- {name: two, labels: [2], write_as: 2}\n"
    )
    report = convert(tmp_path / "data", tmp_path / "new", to=to, workers=1)  # type: ignore[arg-type]
    assert report.done == ["a"]
    assert [failure.case for failure in report.failures] == ["b"]
    assert "holds label values [4] that task 't' does not know (it has 0, 1, 2)" in report.failures[0].message
