"""`swin-unetr convert`: whatever layout and file type goes in, voxels and affines come out as they were."""

import json
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from swin_unetr.cli import main
from swin_unetr.conversion.run import Conversion, convert
from swin_unetr.datasets import LAYOUTS, Dataset, read_dataset
from swin_unetr.errors import ConfigError
from swin_unetr.tasks import Target, Task, brats
from transforms.geometry import Geometry, Volume
from transforms.io import read_file, write_volume
from transforms.told_by_labels import settle_task

SUFFIXES = ("nii.gz", "nii", "nrrd", "mha")
TARGETS = ("decathlon", "nnunet", "plain")
#: Oblique, anisotropic and sheared; the second kind of grid is one slice thick.
AFFINE = np.array([[0.7, 0.1, 0.3, -40], [-0.1, 0.75, 0.2, 55.5], [0, -0.05, 5, 310.25], [0, 0, 0, 1]], np.float32)
SHAPES = ((6, 5, 7), (6, 5, 1))


def scan(shape: tuple[int, int, int], dtype: str = "int16", channels: int = 1, seed: int = 0) -> Volume:
    values = np.random.default_rng(seed).integers(0, 100, (channels, *shape))
    return Volume((values / 8 if dtype[0] == "f" else values).astype(dtype), Geometry(shape, AFFINE.astype(np.float64)))


def labels(shape: tuple[int, int, int], *values: int) -> Volume:
    array = np.random.default_rng(1).choice((0, *values), (1, *shape)).astype(np.uint8)
    return Volume(array, Geometry(shape, AFFINE.astype(np.float64)))


def voxels(dataset: Dataset) -> dict[str, tuple[list[np.ndarray[Any, Any]], np.ndarray[Any, Any] | None, list[Any]]]:
    """Channels, label and affines by case."""
    found = {}
    for case in dataset.cases:
        volumes = [read_file(path) for path in case.images]
        label = read_file(case.label) if case.label else None
        affines = [volume.geometry.affine for volume in [*volumes, *filter(None, [label])]]
        found[case.id] = [of for volume in volumes for of in volume.array], label and label.array, affines
    return found


def require_same(one: Dataset, other: Dataset, *, tolerance_mm: float = 1e-12) -> None:
    before, after = voxels(one), voxels(other)
    assert list(before) == list(after)
    for name, (channels, label, affines) in before.items():
        assert len(channels) == len(after[name][0])
        for was, became in zip(channels, after[name][0], strict=True):
            assert was.dtype == became.dtype
            np.testing.assert_array_equal(was, became)
        assert (label is None) == (after[name][1] is None)
        if label is not None:
            assert after[name][1].dtype == label.dtype
            np.testing.assert_array_equal(label, after[name][1])
        for affine in after[name][2]:
            np.testing.assert_allclose(affine, affines[0], rtol=0, atol=tolerance_mm)


def files(folder: Path) -> dict[str, int]:
    """Inode of every file, by its path."""
    return {str(path.relative_to(folder)): path.stat().st_ino for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def plain(tmp_path: Path) -> Callable[..., Path]:
    """Write a plain data set of two cases, thick and thin, and one without a label."""

    def write(suffix: str, dtype: str = "int16", channels: int = 1) -> Path:
        root = tmp_path / f"plain-{suffix}-{dtype}"
        for index, shape in enumerate(SHAPES):
            write_volume(root / "images" / f"c{index}.{suffix}", scan(shape, dtype, channels, seed=index))
            write_volume(root / "labels" / f"c{index}.{suffix}", labels(shape, 1, 2))
        write_volume(root / "imagesTs" / f"t.{suffix}", scan(SHAPES[0], dtype, channels, seed=9))
        names = ", ".join(f"m{number}" for number in range(channels))
        (root / "task.yaml").write_text(
            f"name: two\nmodality: MR\nchannels: [{names}]\n"
            "targets:\n- {name: one, labels: [1], write_as: 1}\n- {name: two, labels: [2], write_as: 2}\n"
        )
        return root

    return write


def run(source: Path, to: str, output: Path, **arguments: Any) -> Conversion:
    report = convert(source, output, to=to, workers=1, **arguments)  # type: ignore[arg-type]
    assert not report.failures
    return report


@pytest.mark.parametrize(("before", "after"), list(product(SUFFIXES, SUFFIXES)))
def test_every_file_type_and_back(plain: Callable[..., Path], tmp_path: Path, before: str, after: str) -> None:
    source = plain(before)
    to = TARGETS[(SUFFIXES.index(before) + SUFFIXES.index(after)) % 3]
    there = run(source, to, tmp_path / "there", file_type=after)
    back = run(tmp_path / "there", "plain", tmp_path / "back", file_type=before)
    paths = (source, tmp_path / "there", tmp_path / "back")
    one, two, three = (read_dataset(path, require_labels=False) for path in paths)
    assert (two.layout, three.layout) == (to, "plain")
    require_same(one, two)
    require_same(one, three, tolerance_mm=0 if before.startswith("nii") else 1e-12)  # float32 rounds the last bit away
    assert two.task == three.task == one.task
    assert set(there.files) == set(back.files) == {"linked" if before == after else "written"}


@pytest.mark.parametrize("to", TARGETS)
def test_every_layout_to_every_layout(plain: Callable[..., Path], tmp_path: Path, to: str) -> None:
    source = plain("nii")
    run(source, to, tmp_path / "first")
    for other in TARGETS:
        run(tmp_path / "first", other, tmp_path / other, file_type="mha")
        one, two = (read_dataset(path, require_labels=False) for path in (source, tmp_path / other))
        assert (two.layout, two.task) == (other, one.task)
        require_same(one, two)


@pytest.mark.parametrize("suffix", ["mha", "nrrd", "nii.gz"])
def test_stored_types_are_kept(tmp_path: Path, suffix: str) -> None:
    for dtype in ("int8", "uint8", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"):
        write_volume(tmp_path / "in" / f"{dtype}.nii", scan(SHAPES[0], dtype))
    run(tmp_path / "in", "plain", tmp_path / "out", file_type=suffix)
    one, two = (read_dataset(tmp_path / name, require_labels=False) for name in ("in", "out"))
    require_same(one, two)
    assert {case.id for case in two.cases} == {str(read_file(case.images[0]).array.dtype) for case in two.cases}


@pytest.mark.parametrize("suffix", ["nii.gz", "mha"])
def test_channels_are_split_and_joined(plain: Callable[..., Path], tmp_path: Path, suffix: str) -> None:
    source = plain("nii.gz", "float32", channels=3)
    run(source, "nnunet", tmp_path / "split", file_type=suffix)
    run(tmp_path / "split", "decathlon", tmp_path / "joined", file_type="nrrd")
    one, split, joined = (
        read_dataset(path, require_labels=False) for path in (source, tmp_path / "split", tmp_path / "joined")
    )
    assert [len(of.cases[0].images) for of in (one, split, joined)] == [1, 3, 1]
    require_same(one, split)
    require_same(one, joined)
    assert json.loads((tmp_path / "split" / "dataset.json").read_text())["channel_names"]["2"] == "m2"
    assert json.loads((tmp_path / "joined" / "dataset.json").read_text())["tensorImageSize"] == "4D"


def test_nifti_pairs_of_both_versions_and_scaled_numbers(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 100, SHAPES[0]).astype(">i2")
    for name, kind in {"one": nibabel.Nifti1Pair, "two": nibabel.Nifti2Pair}.items():
        image = kind(stored, AFFINE)
        image.header.set_slope_inter(0.5, -3)
        image.header.set_qform(np.diag([1.0, 1, 1, 1]), 1)
        (tmp_path / "pairs").mkdir(exist_ok=True)
        nibabel.save(image, tmp_path / "pairs" / f"{name}.hdr")
    run(tmp_path / "pairs", "plain", tmp_path / "single")
    run(tmp_path / "pairs", "plain", tmp_path / "mha", file_type="mha")
    for name, kind in {"one": nibabel.Nifti1Image, "two": nibabel.Nifti2Image}.items():
        image = nibabel.load(tmp_path / "single" / "images" / f"{name}.nii.gz")
        assert type(image) is kind
        np.testing.assert_array_equal(image.dataobj.get_unscaled(), stored)
        assert (image.dataobj.slope, image.dataobj.inter) == (0.5, -3)
        np.testing.assert_array_equal(image.get_qform(), np.eye(4))  # beside the sform, as it was
        np.testing.assert_array_equal(image.affine, AFFINE)
        mha = read_file(tmp_path / "mha" / "images" / f"{name}.mha")
        np.testing.assert_array_equal(mha.array[0], stored * 0.5 - 3.0)


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


def test_a_dicom_series(test_data: Path, tmp_path: Path) -> None:
    series = sorted((test_data / "ct" / "dicom_series").iterdir(), key=lambda path: path.name)[:3]
    for path in series:
        (tmp_path / "scans" / "one").mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "scans" / "one" / path.name)
    before = read_dataset(tmp_path / "scans", require_labels=False)
    run(tmp_path / "scans", "plain", tmp_path / "mha", file_type="mha")
    require_same(before, read_dataset(tmp_path / "mha", require_labels=False))
    assert run(tmp_path / "scans", "plain", tmp_path / "mha", file_type="mha").files == {"kept": 1}
    shutil.copy(series[0], tmp_path / "scans" / "one" / "again")
    report = convert(tmp_path / "scans", tmp_path / "other", to="plain", workers=1)
    assert f"again lies where {series[0].name} does" in report.failures[0].message


def test_crops_of_real_scans(test_data: Path, tmp_path: Path) -> None:
    """Oblique, sheared and ordinary headers of real scanners, cut down."""
    for path in sorted((test_data / "ct" / "volumes").glob("*.nii.gz")):
        image = nibabel.load(path)
        crop = image.slicer[:20, -24:, 3:9] if image.ndim == 3 else image
        (tmp_path / "real").mkdir(exist_ok=True)
        nibabel.save(crop, tmp_path / "real" / path.name)
    before = read_dataset(tmp_path / "real", require_labels=False)
    for suffix in ("mha", "nrrd"):
        run(tmp_path / "real", "plain", tmp_path / suffix, file_type=suffix)
        run(tmp_path / suffix, "plain", tmp_path / f"{suffix}-back")
        require_same(before, read_dataset(tmp_path / suffix, require_labels=False), tolerance_mm=1e-10)
        require_same(before, read_dataset(tmp_path / f"{suffix}-back", require_labels=False), tolerance_mm=1e-4)


def test_what_stands_and_is_equal_is_kept(plain: Callable[..., Path], tmp_path: Path) -> None:
    source, output = plain("nii"), tmp_path / "out"
    run(source, "nnunet", output, file_type="mha")
    before = files(output)
    damaged, lost = output / "imagesTr" / "c0_0000.mha", output / "labelsTr" / "c1.mha"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    lost.unlink()
    report = run(source, "nnunet", output, file_type="mha")
    assert report.files == {"kept": 3, "written": 2}
    kept = {name for name, inode in files(output).items() if before[name] == inode and not name.endswith(".json")}
    assert kept == set(before) - {"imagesTr/c0_0000.mha", "labelsTr/c1.mha", "dataset.json", "convert.json"}
    require_same(*(read_dataset(path, require_labels=False) for path in (source, output)))


def test_links_and_copies(plain: Callable[..., Path], tmp_path: Path) -> None:
    source = plain("nii.gz")
    assert run(source, "decathlon", tmp_path / "linked").files == {"linked": 5}
    assert run(source, "decathlon", tmp_path / "linked").files == {"kept": 5}
    assert run(source, "decathlon", tmp_path / "copied", link=False).files == {"copied": 5}
    assert (tmp_path / "linked" / "imagesTr" / "c0.nii.gz").samefile(source / "images" / "c0.nii.gz")
    assert not (tmp_path / "copied" / "imagesTr" / "c0.nii.gz").samefile(source / "images" / "c0.nii.gz")


def test_a_case_that_fails_does_not_stop_the_others(
    plain: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = plain("nrrd", channels=2)
    (source / "labels" / "c0.nrrd").write_bytes(b"NRRD0004\n")
    arguments = ["convert", str(source), "--to", "nnunet", "--output", str(tmp_path / "Dataset007_X"), "--workers", "1"]
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert "layout plain: 3 cases, 2 with labels; channels m0, m1; structures one, two" in said.out
    assert "2 converted, 1 failed; files: 5 written" in said.out
    assert said.err.startswith(f"failed: c0: {source / 'labels' / 'c0.nrrd'}: cannot be read")
    assert "Dataset<3 digits>" not in said.out
    record = json.loads((tmp_path / "Dataset007_X" / "convert.json").read_text())
    assert (record["state"], [of["case"] for of in record["failures"]], sorted(record["cases"])) == (
        "finished",
        ["c0"],
        ["c1", "t"],
    )
    assert [case.id for case in read_dataset(tmp_path / "Dataset007_X", require_labels=False).cases] == ["c1", "t"]
    write_volume(source / "labels" / "c0.nrrd", labels(SHAPES[0], 1))
    assert main(arguments) == 0
    assert "files: 5 kept, 3 written" in capsys.readouterr().out


def test_a_case_that_cannot_be_listed_is_a_failure_too(tmp_path: Path) -> None:
    for name in ("a_flair", "a_t1", "a_seg", "b_flair", "b_seg"):
        write_volume(tmp_path / "in" / name[0] / f"{name}.nii", labels(SHAPES[0], 1))
    report = convert(tmp_path / "in", tmp_path / "out", to="plain", workers=1)
    assert (report.done, report.exit_code) == (["a"], 1)
    assert "lacks T1, which other cases have" in report.failures[0].message


def test_channels_on_two_grids_are_not_joined(tmp_path: Path) -> None:
    entry = {"id": "a", "image": {"x": "x.nii", "y": "y.nii"}}
    write_volume(tmp_path / "x.nii", scan(SHAPES[0]))
    moved = AFFINE.astype(np.float64)
    moved[0, 3] += 1
    write_volume(tmp_path / "y.nii", Volume(scan(SHAPES[0]).array, Geometry(SHAPES[0], moved)))
    (tmp_path / "cases.json").write_text(json.dumps([entry]))
    report = convert(tmp_path / "cases.json", tmp_path / "out", to="plain", workers=1)
    assert "y.nii: does not lie on the grid of" in report.failures[0].message


@pytest.mark.parametrize("broken", ["output", "source", "inside", "other", "nothing", "meaning"])
def test_what_is_refused_before_anything_is_written(
    plain: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], broken: str
) -> None:
    source, output = plain("nii"), tmp_path / "out"
    if broken == "output":
        output.mkdir()
        (output / "mine.txt").touch()
    elif broken == "source":
        output = source
    elif broken == "inside":
        output = source / "nnunet"
    elif broken == "other":
        run(source, "plain", output)
    elif broken == "nothing":
        source = tmp_path / "absent"
    else:
        (source / "task.yaml").unlink()
    before = files(tmp_path)
    assert main(["convert", str(source), "--to", "nnunet", "--output", str(output)]) == (
        1 if broken == "nothing" else 2
    )
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    words = {"output": "not an empty", "source": "files of the source", "inside": "lies in the source"}
    words |= {"other": "to plain, now nnunet", "nothing": "no such file", "meaning": "task.yaml"}
    assert words[broken] in said
    assert files(tmp_path) == before


def test_in_parallel_processes(plain: Callable[..., Path], tmp_path: Path) -> None:
    source = plain("nii")
    report = convert(source, tmp_path / "out", to="decathlon", workers=2)
    assert (sorted(report.done), report.files) == (["c0", "c1", "t"], {"written": 5})
    require_same(*(read_dataset(path, require_labels=False) for path in (source, tmp_path / "out")))


def test_a_modality_that_nobody_says(tmp_path: Path) -> None:
    write_volume(tmp_path / "d" / "images" / "a.mha", scan(SHAPES[0]))
    write_volume(tmp_path / "d" / "labels" / "a.mha", labels(SHAPES[0], 3))
    with pytest.raises(ConfigError, match=r"task\.yaml"):
        convert(tmp_path / "d", tmp_path / "out", to="decathlon", workers=1)
    run(tmp_path / "d", "decathlon", tmp_path / "out", modality="CT")
    task = read_dataset(tmp_path / "out", require_labels=True).task
    assert task is not None
    assert (task.modality, task.targets[0].name, task.targets[0].labels) == ("CT", "label 3", (3,))


def test_simpleitk_reads_what_was_written(plain: Callable[..., Path], tmp_path: Path) -> None:
    """An oracle that is not our own reader."""
    source = plain("nii.gz", "float32")
    run(source, "plain", tmp_path / "out", file_type="nrrd")
    image = sitk.ReadImage(str(tmp_path / "out" / "images" / "c0.nrrd"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).transpose(2, 1, 0), scan(SHAPES[0], "float32").array[0])
    corner = np.array(image.TransformIndexToPhysicalPoint((3, 2, 6))) * (-1, -1, 1)
    np.testing.assert_allclose(corner, (AFFINE @ (3, 2, 6, 1))[:3], atol=1e-4)
