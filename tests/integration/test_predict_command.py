"""`swin-unetr predict` as a user types it: good cases, bad cases, stopped and resumed runs."""

import errno
import fcntl
import gzip
import json
import os
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from swin_unetr.checkpoints.model_folder import read_description, write_description
from swin_unetr.cli import main
from swin_unetr.config import InferenceConfig, IntensityConfig, PreprocessConfig
from swin_unetr.datasets import read_dataset
from swin_unetr.datasets.folds import Folds
from swin_unetr.errors import ConfigError
from swin_unetr.inference.batch.run import predict
from swin_unetr.tasks import Task, brats, exclusive, with_channels
from transforms.likeness import describe_scans

ONE_WINDOW = InferenceConfig(roi_size=(32, 32, 24))
HU = PreprocessConfig(intensity=IntensityConfig(scheme="hu_window"))
ORGANS = Task(name="organs", modality="CT", channels=("CT",), targets=exclusive(("liver", "spleen")))
#: Whatever the machine has.
EXACT = ("--backend", "torch", "--precision", "float32", "--device", "cpu")
MACHINE = "torch, float32 on cpu"


@pytest.fixture
def model(make_model) -> Path:
    return make_model("model", ORGANS, preprocess=HU, inference=ONE_WINDOW)


@pytest.fixture
def run(capsys):
    """Run the command; gives exit code, lines of standard output, lines of standard error on cases and what failed."""

    def call(*arguments: object) -> tuple[int, list[str], list[str]]:
        code = main(["predict", *EXACT, *map(str, arguments)])
        out, err = capsys.readouterr()
        lines = [line for line in err.splitlines() if line != MACHINE and not line.startswith("plan: ")]
        return code, out.splitlines(), lines

    return call


@pytest.fixture
def make_scan_facts(phantom_data):
    """Write into a model's description what its training scans were like, as finetune does."""

    def write(folder: Path) -> None:
        scans = sorted((phantom_data / "imagesTr").iterdir())
        described = replace(read_description(folder), training_scans=describe_scans([[path] for path in scans]))
        write_description(folder, described)

    return write


def results(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_data_set_with_options(run, model, phantom_data, tmp_path) -> None:
    Folds(seed=0, folds=(("phantom_000", "phantom_003"), ("phantom_001",))).save(tmp_path / "folds.json")
    out = tmp_path / "out"
    code, stdout, stderr = run(
        *(model, phantom_data, "--output", out, "--folds", tmp_path / "folds.json", "--fold", 0),
        *("--overlap", 0.25, "--roi-size", 32, 32, 32, "--tta", "--save-probabilities", "--weights", "constant"),
    )
    assert code == 0
    assert stdout == [f"2 segmented, 0 failed; results in {out}"]
    found, *progress = stderr
    assert found.startswith(f"{phantom_data}: layout decathlon: 8 cases, 6 with labels; channels CT; structures liver")
    assert [line.split(":")[0] for line in progress] == ["1/2 phantom_000", "2/2 phantom_003"]
    assert progress[0].endswith(" left")
    assert results(out) == [
        *("phantom_000.json", "phantom_000.nii.gz", "phantom_000_probabilities.nii.gz"),
        *("phantom_003.json", "phantom_003.nii.gz", "phantom_003_probabilities.nii.gz", "predictions.json"),
    ]
    record = json.loads((out / "phantom_003.json").read_text())
    source = phantom_data / "imagesTr/phantom_003.nii.gz"
    stat = source.stat()
    (of_source,) = record["sources"]
    wanted = {"path": str(source), "bytes": stat.st_size, "modified": stat.st_mtime_ns}
    assert {key: of_source[key] for key in wanted} == wanted
    assert of_source.keys() - wanted == {"stamp", "hash"}
    assert record["labels"] == {"liver": 1, "spleen": 2}
    assert record["models"][0] == {
        **{"path": str(model), "sha256": record["models"][0]["sha256"]},
        **{"roi_size": [32, 32, 32], "overlap": 0.25, "weights": "constant", "tta": True},
    }
    assert (record["device"], record["precision"], record["backend"]) == ("cpu", "float32", "torch")
    assert record["backends"][0]["name"] == "torch"
    assert record["versions"]["torch"] == torch.__version__
    assert record["seconds_by_phase"].keys() == {"read", "network", "write"}
    assert record["seconds"] == pytest.approx(sum(record["seconds_by_phase"].values()))
    whole = json.loads((out / "predictions.json").read_text())
    assert (whole["status"], whole["cases"], whole["failures"]) == ("finished", ["phantom_000", "phantom_003"], [])
    assert whole["task"]["name"] == "organs"
    (comment,) = nibabel.load(out / "phantom_003.nii.gz").header.extensions
    assert json.loads(comment.text) == {"labels": {"1": "liver", "2": "spleen"}}


def test_several_models(run, make_model, phantom_data, tmp_path) -> None:
    models = [make_model(f"fold{seed}/best", ORGANS, preprocess=HU, inference=ONE_WINDOW, seed=seed) for seed in (0, 1)]
    scan = phantom_data / "imagesTs/phantom_006.nii.gz"
    code, _, _ = run(models[0].parent, scan, "--with", models[1].parent, "--output", tmp_path / "out")
    assert code == 0
    record = json.loads((tmp_path / "out/phantom_006.json").read_text())
    assert [item["path"] for item in record["models"]] == list(map(str, models))


def bad_scans(folder: Path, good: Path) -> dict[str, str]:
    """Write scans that cannot be segmented; gives a part of the message by case."""
    image = nibabel.load(good)
    voxels = np.asarray(image.dataobj).astype(np.float32)

    def save(name: str, array: np.ndarray) -> None:
        nibabel.save(nibabel.Nifti1Image(array, image.affine), folder / f"{name}.nii.gz")

    save("four", np.stack([voxels, voxels], axis=-1))
    hole = voxels.copy()
    hole[3, 4, 5] = np.nan
    save("nan", hole)
    whole = good.read_bytes()
    (folder / "truncated.nii.gz").write_bytes(whole[: len(whole) // 2])
    (folder / "text.nii.gz").write_bytes(gzip.compress(b"no image"))
    return {"four": "4-D", "nan": "1 NaN", "truncated": "truncated", "text": "not a readable NIfTI"}


def test_bad_cases_do_not_stop_the_others(run, model, phantom_data, tmp_path) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    good = phantom_data / "imagesTs/phantom_006.nii.gz"
    expected = bad_scans(scans, good)
    absent = tmp_path / "missing.nii.gz"
    code, stdout, stderr = run(model, absent, scans, good, "--output", out)
    assert code == 1
    assert stdout == [f"1 segmented, 5 failed; results in {out}"]
    failed = {line.split(": ")[1]: line for line in stderr if line.startswith("failed: ")}
    assert failed.keys() == {absent.name, *expected}
    assert "no such file" in failed[absent.name]
    for case, words in expected.items():
        assert f"{scans / case}.nii.gz: " in failed[case]
        assert words in failed[case]
    assert results(out) == ["phantom_006.json", "phantom_006.nii.gz", "predictions.json"]
    assert len(json.loads((out / "predictions.json").read_text())["failures"]) == 5


def test_what_stands_of_a_case_that_now_fails_is_kept_and_told(run, model, phantom_data, tmp_path) -> None:
    scan, out = tmp_path / "scan.nii.gz", tmp_path / "out"
    scan.write_bytes((phantom_data / "imagesTs/phantom_006.nii.gz").read_bytes())
    assert run(model, scan, "--output", out)[0] == 0
    before = (out / scan.name).read_bytes()
    scan.write_bytes(scan.read_bytes()[:1000])
    code, stdout, stderr = run(model, scan, "--output", out)
    assert (code, stdout) == (1, [f"0 segmented, 1 failed; results in {out}"])
    assert stderr[-1].endswith("; the existing scan.nii.gz is of an earlier run")
    assert json.loads((out / "predictions.json").read_text())["failures"][0]["message"] in stderr[-1]
    assert (out / scan.name).read_bytes() == before


def test_nothing_is_written_where_there_is_no_scan(run, model, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    code, stdout, stderr = run(model, tmp_path / "empty", "--output", tmp_path / "out")
    assert code == 1
    assert len(stderr) == 1
    assert f"{tmp_path / 'empty'}: no scans found" in stderr[0]
    assert stdout == [f"0 segmented, 1 failed; results in {tmp_path / 'out'}"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--overlap", 1], "overlap: must lie in 0..1"),
        (["--overlap", "much"], "overlap"),
        (["--roi-size", 30, 32, 24], "the nearest that does is 32 32 24"),
        (["--batch-size", 0], "batch_size: must be positive"),
        (["--device", "tpu"], "device: 'tpu' is not available on this machine"),
        (["--precision", "float8"], "--precision"),
        (["--layout", "dicom"], "--layout"),
        (["--fold", 0], "folds: --folds FILE and --fold K go together"),
        (["--backend", "tensorrt"], "--backend"),
        (["--weights", "flat"], "--weights"),
        (["--max-memory", "4"], "max_memory: '4' is no size; give a number with its unit"),
        (["--max-memory", "1MB"], "max_memory"),
        (["--accumulate", "bfloat16"], "--accumulate"),
        (["--tat"], "--tat"),
    ],
)
def test_wrong_arguments_are_one_line(run, model, phantom_data, tmp_path, arguments, words) -> None:
    code, stdout, stderr = run(model, phantom_data, "--output", tmp_path / "out", *arguments)
    assert (code, stdout, len(stderr)) == (2, [], 1)
    assert stderr[0].startswith("swin-unetr predict: ")
    assert words in stderr[0]
    assert not (tmp_path / "out").exists()


def test_wrong_models_are_one_line(run, model, make_model, phantom_data, tmp_path) -> None:
    other = make_model("other", with_channels(ORGANS, ("CT", "PET")), preprocess=HU, inference=ONE_WINDOW)
    output = ("--output", tmp_path / "out")
    for arguments, code, words in (
        ((tmp_path / "nothing", phantom_data), 1, str(tmp_path / "nothing")),
        ((model, phantom_data, "--with", other), 2, f"{other} has another task"),
    ):
        got, stdout, stderr = run(*arguments, *output)
        assert (got, stdout, len(stderr)) == (code, [], 1)
        assert words in stderr[0]
    code, _, stderr = run(other, phantom_data / "imagesTs", *output)
    assert code == 1
    assert "phantom_006.nii.gz: has 1 channel where 2 are wanted; give the files of all" in stderr[-2]


def test_the_scans_themselves_are_never_replaced(run, model, phantom_data, tmp_path) -> None:
    scan = tmp_path / "phantom_006.nii.gz"
    scan.write_bytes((phantom_data / "imagesTs" / scan.name).read_bytes())
    before = scan.read_bytes()
    code, _, stderr = run(model, scan, "--output", tmp_path)
    assert (code, len(stderr)) == (2, 1)
    assert f"{scan} was not written by predict" in stderr[0]
    assert scan.read_bytes() == before


def test_what_was_made_of_the_same_files_in_the_same_way_is_kept(run, model, phantom_data, tmp_path) -> None:
    out, scans = tmp_path / "out", tmp_path / "scans"
    scans.mkdir()
    for name in ("phantom_006.nii.gz", "phantom_007.nii.gz"):
        (scans / name).write_bytes((phantom_data / "imagesTs" / name).read_bytes())

    def predicted(*options: object) -> list[str]:
        code, stdout, stderr = run(model, scans, "--output", out, *options)
        assert code == 0
        assert stdout == [f"2 segmented, 0 failed; results in {out}"]
        assert json.loads((out / "predictions.json").read_text())["cases"] == ["phantom_006", "phantom_007"]
        made = [line.split()[1] for line in stderr if line[1] == "/"]
        kept = f"{2 - len(made)} of 2 results exist already and are kept; --overwrite renews them"
        assert stderr[0 : len(stderr) - len(made)] == ([kept] if len(made) < 2 else [])
        return made

    both = ["phantom_006:", "phantom_007:"]
    assert predicted() == both
    assert predicted() == []
    assert predicted("--overwrite") == both
    (out / "phantom_007.json").unlink()
    assert predicted() == both[1:]
    assert predicted("--overlap", 0.1, "--overwrite") == both
    assert predicted("--overlap", 0.1, "--save-probabilities") == both
    assert predicted("--overlap", 0.1, "--no-skip-empty", "--overwrite") == both
    assert predicted("--overlap", 0.1, "--no-skip-empty", "--batch-size", 2) == []
    os.utime(scans / "phantom_006.nii.gz", ns=(1, 1))
    assert predicted("--overlap", 0.1, "--no-skip-empty") == []  # touched, with the same bytes
    (scans / "phantom_006.nii.gz").write_bytes((scans / "phantom_007.nii.gz").read_bytes())
    assert predicted("--overlap", 0.1, "--no-skip-empty") == both[:1]


def test_sums_in_half_precision_are_said_and_not_taken_for_those_in_float32(run, model, phantom_data, tmp_path) -> None:
    out, scan = tmp_path / "out", phantom_data / "imagesTs/phantom_006.nii.gz"
    labels = {}
    for accumulate, begins in (("float32", "1/1"), ("float16", "1/1"), ("auto", "1 of 1 results exist already")):
        code, _, stderr = run(model, scan, "--output", out, "--accumulate", accumulate)
        assert (code, stderr[0].startswith(begins)) == (0, True)
        record = json.loads((out / "phantom_006.json").read_text())
        assert record["accumulate"] == ("float32" if accumulate == "float32" else "float16")
        assert ("summed in float16" in record["plan"]) == (accumulate != "float32")
        assert json.loads((out / "predictions.json").read_text())["accumulate"] == accumulate
        labels[accumulate] = np.asarray(nibabel.load(out / "phantom_006.nii.gz").dataobj)
    assert (labels["float16"] == labels["float32"]).mean() > 0.99
    assert run(model, scan, "--output", out, "--accumulate", "float32")[2][0].startswith("1/1")


def test_stopped_run_says_how_to_go_on(make_threshold_model, phantom_data, tmp_path) -> None:
    model = make_threshold_model(-175, 250, 0)
    calls = iter(range(100))

    def stop(*_: object) -> None:
        if next(calls) == 1:
            raise KeyboardInterrupt

    model.network.register_forward_pre_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        predict(model, phantom_data / "imagesTs", tmp_path, progress=False)
    record = json.loads((tmp_path / "predictions.json").read_text())
    assert (record["status"], record["cases"]) == ("stopped", ["phantom_006"])
    assert results(tmp_path) == ["phantom_006.json", "phantom_006.nii.gz", "predictions.json"]


def test_too_little_memory_for_one_case_is_its_failure(make_threshold_model, phantom_data, tmp_path) -> None:
    model = make_threshold_model(-175, 250, 0)
    first: list[torch.Tensor] = []

    def refuse(_: object, windows: tuple[torch.Tensor]) -> None:
        first[:] = first or [windows[0].clone()]
        if torch.equal(windows[0], first[0]):  # of the first case, however small its tiles
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 80.00 GiB")

    model.network.register_forward_pre_hook(refuse)
    report = predict(model, phantom_data / "imagesTs", tmp_path, progress=False)
    assert report.done == ["phantom_007"]
    assert report.failures[0].message.startswith("not enough memory on cpu")


def test_a_folder_in_the_place_of_a_result_is_told_before_anything_is_written(
    make_threshold_model, phantom_data, tmp_path
) -> None:
    folder = tmp_path / "phantom_006_probabilities.nii.gz"
    folder.mkdir()
    with pytest.raises(ConfigError, match=f"{folder} was not written by predict and is kept; name another folder"):
        predict(
            make_threshold_model(-175, 250, 0),
            phantom_data / "imagesTs",
            tmp_path,
            save_probabilities=True,
            progress=False,
        )
    assert list(tmp_path.iterdir()) == [folder]


def test_regions_of_real_brain_tumours(run, make_model, test_data, tmp_path) -> None:
    """BraTS 2013 with two modalities: channels by name, regions painted nested, on the grid of the scan."""
    task = with_channels(brats("brats2013"), ("T1ce", "FLAIR"))
    model = make_model("model", task, preprocess=PreprocessConfig(spacing_mm=(6, 6, 6)), inference=ONE_WINDOW)
    case = read_dataset(test_data / "brats2013", require_labels=True).cases[0]
    code, _, _ = run(
        model, test_data / "brats2013", "--cases", case.id, "--save-probabilities", "--output", tmp_path / "a"
    )
    assert code == 0
    result = nibabel.load(tmp_path / "a" / f"{case.id}.nii.gz")
    labels = np.asarray(result.dataobj)
    probabilities = nibabel.load(tmp_path / "a" / f"{case.id}_probabilities.nii.gz").get_fdata()
    core, whole, enhancing = np.moveaxis(probabilities > 0.5, -1, 0)
    # Labels are decided by the scores: one that is hardly above 0 has a probability of 0.5 in float32.
    clear = (np.abs(probabilities - 0.5) > 1e-6).all(axis=-1)
    assert clear.mean() > 0.999
    assert np.array_equal(labels[clear], np.select([enhancing, core, whole], [4, 1, 2])[clear])
    assert np.array_equal(result.affine, nibabel.load(case.label).affine)
    record = json.loads((tmp_path / "a" / f"{case.id}.json").read_text())
    assert record["labels"] == {"TC": [1, 4], "WT": [1, 2, 4], "ET": [4]}
    assert [Path(source["path"]).name for source in record["sources"]] == [
        f"{case.id}_t1ce.nii.gz",
        f"{case.id}_flair.nii.gz",
    ]

    files = [nibabel.load(source["path"]) for source in record["sources"]]
    stacked = nibabel.Nifti1Image(
        np.stack([file.get_fdata(dtype=np.float32) for file in files], axis=-1), result.affine
    )
    nibabel.save(stacked, tmp_path / "stacked.nii.gz")
    assert run(model, tmp_path / "stacked.nii.gz", "--output", tmp_path / "b")[0] == 0
    again = np.asarray(nibabel.load(tmp_path / "b/stacked.nii.gz").dataobj)
    assert np.mean(again == labels) > 0.9999  # sums over voxels in another order

    four = make_model("four", with_channels(task, ("T1ce", "FLAIR", "T2")), inference=ONE_WINDOW)
    code, _, stderr = run(four, test_data / "brats2013", "--cases", case.id, "--output", tmp_path / "c")
    assert code == 1
    assert stderr == [
        f"failed: {case.id}: {test_data}/brats2013/{case.id}: lacks T2, which the model needs; it has FLAIR, T1ce"
    ]


def test_predictions_of_2023_are_written_with_its_labels(make_model, tmp_path) -> None:
    folder = tmp_path / "BraTS-GLI-00001-000"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("t1n", "t1c", "t2w", "t2f"):
        scan = nibabel.Nifti1Image(rng.normal(5, 1, (24, 24, 24)).astype(np.float32), np.eye(4))
        nibabel.save(scan, folder / f"{folder.name}-{name}.nii.gz")
    model = make_model("model", brats("brats2023"), inference=InferenceConfig(roi_size=(24, 24, 24)))
    assert predict(model, folder, tmp_path / "out", progress=False).done == [folder.name]
    labels = np.unique(np.asarray(nibabel.load(tmp_path / "out" / f"{folder.name}.nii.gz").dataobj))
    assert set(labels) <= {0, 1, 2, 3}
    assert len(labels) > 1


def test_scans_unlike_those_of_the_training_are_segmented_with_a_warning(
    run, model, make_scan_facts, phantom_data, tmp_path
) -> None:
    source = nibabel.load(phantom_data / "imagesTr/phantom_000.nii.gz")
    hu, labels = np.asarray(source.dataobj), nibabel.load(phantom_data / "labelsTr/phantom_000.nii.gz")
    make_scan_facts(model)
    scans = tmp_path / "scans"
    scans.mkdir()
    nibabel.save(source, scans / "ct.nii.gz")
    nibabel.save(labels, scans / "labels.nii.gz")
    nibabel.save(nibabel.Nifti1Image((hu + 1024).astype(np.int16), source.affine), scans / "mr.nii.gz")
    microns = nibabel.Nifti1Image(hu, np.diag([1e3, 1e3, 1e3, 1]) @ source.affine)
    microns.header.set_xyzt_units("micron")
    nibabel.save(microns, scans / "small.nii.gz")
    code, stdout, stderr = run(model, scans, "--output", tmp_path / "out")
    assert (code, stdout) == (0, [f"4 segmented, 0 failed; results in {tmp_path / 'out'}"])
    said = {line.split(":")[0]: line for line in stderr if ": warning: " in line}
    assert sorted(said) == ["labels", "mr", "small"]
    expected = {
        "labels": "looks like a label map (5 different whole values besides 0), not a scan",
        "mr": "is it a CT in Hounsfield units?",
        "small": "the voxel size is in microns; converted to",
    }
    whole = json.loads((tmp_path / "out/predictions.json").read_text())
    for case in ("ct", *expected):
        warnings = json.loads((tmp_path / "out" / f"{case}.json").read_text())["warnings"]
        assert warnings == whole["warnings"].get(case, [])
        assert bool(warnings) == (case != "ct")
        if case != "ct":
            assert expected[case] in warnings[0]
            assert warnings[0] in said[case]
    written = nibabel.load(tmp_path / "out/small.nii.gz")
    assert written.affine.tobytes() == nibabel.load(scans / "small.nii.gz").affine.tobytes()
    assert written.header.get_xyzt_units()[0] == "micron"
    assert run(model, scans, "--output", tmp_path / "out")[0] == 0  # what stands is kept, with its warnings
    assert json.loads((tmp_path / "out/predictions.json").read_text())["warnings"] == whole["warnings"]


def test_many_warnings_are_counted(run, model, phantom_data, tmp_path) -> None:
    code, _, stderr = run(model, phantom_data / "labelsTr", "--output", tmp_path / "out")
    assert code == 0
    assert len([line for line in stderr if ": warning: " in line]) == 5
    assert 'warnings on 1 more case; see "warnings" in predictions.json' in stderr
    whole = json.loads((tmp_path / "out/predictions.json").read_text())
    assert len(whole["warnings"]) == 6


def test_a_json_of_the_user_beside_the_scan_is_kept(run, model, phantom_data, tmp_path) -> None:
    """dcm2niix writes one for each scan."""
    scan = tmp_path / "a.nii"
    nibabel.save(nibabel.load(phantom_data / "imagesTs/phantom_006.nii.gz"), scan)
    sidecar = tmp_path / "a.json"
    sidecar.write_text('{"Modality": "CT"}')
    code, _, stderr = run(model, scan, "--output", tmp_path, "--overwrite")
    assert (code, stderr) == (
        2,
        [f"swin-unetr predict: output: {sidecar} was not written by predict and is kept; name another folder"],
    )
    assert sidecar.read_text() == '{"Modality": "CT"}'
    assert results(tmp_path) == ["a.json", "a.nii", "model"]


def test_a_model_that_was_changed_is_another_method(run, model, phantom_data, tmp_path) -> None:
    out, scan = tmp_path / "out", phantom_data / "imagesTs/phantom_006.nii.gz"
    assert run(model, scan, "--output", out)[0] == 0
    before = (out / "phantom_006.json").read_bytes()
    described = json.loads((model / "model.json").read_text())
    described["preprocess"]["intensity"]["window"] = [-100, 100]
    (model / "model.json").write_text(json.dumps(described))
    code, stdout, stderr = run(model, scan, "--output", out)
    words = "holds results of another method (different: preprocess); name another --output, or renew them with"
    assert (code, stdout, len(stderr)) == (2, [], 1)
    assert words in stderr[0]
    assert (out / "phantom_006.json").read_bytes() == before
    assert results(out) == ["phantom_006.json", "phantom_006.nii.gz", "predictions.json"]
    assert run(model, scan, "--output", out, "--overwrite")[0] == 0
    described["provenance"] = {"note": "renamed"}
    (model / "model.json").write_text(json.dumps(described))
    assert run(model, scan, "--output", out)[2][0].startswith("1 of 1 results exist already")


def test_parts_of_a_job_array_on_a_disk_without_locks(run, model, phantom_data, tmp_path, monkeypatch) -> None:
    def missing(file: object, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", missing)
    out, scans = tmp_path / "out", phantom_data / "imagesTs"
    code, _, stderr = run(model, scans, "--output", out)
    assert code == 2
    assert "has no file locks (flock)" in stderr[-1]
    assert results(out) == []
    for number, case in ((1, "phantom_006"), (2, "phantom_007")):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(number - 1))
        monkeypatch.setenv("SLURM_ARRAY_TASK_MIN", "0")
        monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "2")
        code, stdout, stderr = run(model, scans, "--output", out)
        assert (code, stdout) == (0, [f"1 segmented, 0 failed; results in {out}"])
        assert f"part {number} of 2: 1 of 2 cases; --part 1/1 segments all of them" in stderr
        assert json.loads((out / f"predictions.part-{number}-of-2.json").read_text())["cases"] == [case]
    assert results(out) == [
        *("phantom_006.json", "phantom_006.nii.gz", "phantom_007.json", "phantom_007.nii.gz"),
        *("predictions.json", "predictions.part-1-of-2.json", "predictions.part-2-of-2.json"),
    ]
    assert run(model, scans, "--output", out, "--part", "1/1")[2][-1].startswith("2 of 2 results exist already")
