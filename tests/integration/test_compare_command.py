"""The command `swin-unetr compare`: files, exit codes, one-line errors, and its numbers computed again by hand."""

import csv
import importlib.util
import json
import shutil

import nibabel as nib
import numpy as np
import pytest

import swin_unetr
from swin_unetr.cli import main
from swin_unetr.datasets.folds import Folds
from swin_unetr.errors import ConfigError
from swin_unetr.evaluation.comparison.values import NOT_ASKED

LABELS = ("--labels", "liver=1", "spleen=2")


def save(path, labels):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(labels.astype(np.uint8), np.diag([1, 1, 2, 1])), path)


@pytest.fixture
def folders(tmp_path):
    """Seven cases; `good` moves the labels by one voxel in some, `bad` by more and tears holes, `worse` lacks two."""
    generator = np.random.default_rng(0)
    for index in range(7):
        labels = np.zeros((20, 18, 12), np.uint8)
        labels[3:11, 3:10, 2:10] = 1
        labels[13:18, 4:12, 3 : 4 + index] = 0 if index == 5 else 2
        holes = np.where(generator.random(labels.shape) < 0.03, 0, np.roll(labels, index % 3, axis=1))
        made = {"ref": labels, "good": np.roll(labels, index % 2, axis=0), "bad": holes, "worse": holes * (index != 6)}
        for name, array in made.items():
            if name != "worse" or index not in (1, 2):
                save(tmp_path / name / f"case{index}.nii.gz", array)
    return tmp_path


def compare(folders, *arguments, methods=("good", "bad"), output="out"):
    paths = [str(folders / name) for name in methods]
    reference = ("--reference", str(folders / "ref"), *LABELS)
    return main(["compare", *paths, *reference, "--output", str(folders / output), *arguments])


def evaluate(folders, name, *arguments):
    paths = [str(folders / name), str(folders / "ref"), "--output", str(folders / f"report_{name}")]
    return main(["evaluate", *paths, *LABELS, "--pictures", "0", *arguments])


def written(folders, output="out"):
    return json.loads((folders / output / "compare.json").read_text())


@pytest.fixture(scope="module")
def by_hand(request):
    """The script that computes a comparison again with numpy and scipy alone."""
    path = request.config.rootpath / "scripts" / "check" / "comparison.py"
    specification = importlib.util.spec_from_file_location("check_compare", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("arguments", [(), ("--empty", "brats", "--empty-distance", "penalty")])
def test_computed_again_by_hand(arguments, folders, by_hand, monkeypatch, capsys):
    assert compare(folders, *arguments) == 0
    assert evaluate(folders, "good", *arguments) == 0
    assert evaluate(folders, "bad", *arguments) == 0
    capsys.readouterr()
    paths = [str(folders / name) for name in ("out", "report_good", "report_bad")]
    monkeypatch.setattr("sys.argv", ["comparison.py", *paths])
    assert by_hand.main() == 0
    assert "2 methods, 30 differences" in capsys.readouterr().out
    # And it would see a number that is wrong.
    values = written(folders)
    values["differences"][4]["mean"] += 1e-9
    (folders / "out" / "compare.json").write_text(json.dumps(values))
    assert by_hand.main() == 1


def test_real_labels_disturbed_in_two_ways(test_data, by_hand, tmp_path, monkeypatch):
    """Reference labels of the Hippocampus, disturbed in two ways, by real geometry."""
    labels = sorted((test_data / "Task04_Hippocampus" / "labelsTr").glob("hippocampus_*.nii.gz"))[:12]
    for index, path in enumerate(labels):
        image = nib.load(path)
        array = np.asarray(image.dataobj).astype(np.uint8)
        (tmp_path / "ref").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "ref" / path.name)
        for name, moved in (("one", np.roll(array, 1, axis=index % 3)), ("two", np.roll(array, index % 3, axis=0))):
            (tmp_path / name).mkdir(exist_ok=True)
            nib.save(nib.Nifti1Image(moved, image.affine, image.header), tmp_path / name / path.name)
    names = ("--labels", "Anterior=1", "Posterior=2")
    metrics = ("--metrics", "dice", "hd95_mm", "nsd", "volume_difference_ml")
    for name in ("one", "two"):
        paths = [str(tmp_path / name), str(tmp_path / "ref"), "--output", str(tmp_path / f"report_{name}")]
        assert main(["evaluate", *paths, *names, *metrics, "--pictures", "0"]) == 0
    reports = [str(tmp_path / f"report_{name}") for name in ("one", "two")]
    assert main(["compare", *reports, "--output", str(tmp_path / "out")]) == 0
    monkeypatch.setattr("sys.argv", ["comparison.py", str(tmp_path / "out"), *reports])
    assert by_hand.main() == 0


def test_reports_give_what_their_predictions_give(folders):
    assert compare(folders) == 0
    assert evaluate(folders, "good") == 0
    assert evaluate(folders, "bad") == 0
    for methods in (("report_good", "report_bad"), ("report_good", "bad"), ("good", "report_bad/results.json")):
        assert compare(folders, "--names", "good", "bad", methods=methods, output="again") == 0
        first, again = written(folders), written(folders, "again")
        for key in ("differences", "rankings", "values", "lacking", "policy", "cases", "sha256", "metrics"):
            assert first[key] == again[key], (methods, key)


def test_what_is_lacking_is_named_counted_and_ends_with_1(folders, capsys):
    assert compare(folders, methods=("good", "bad", "worse")) == 1
    result = written(folders)
    assert [(item["case"], "has no prediction" in item["message"]) for item in result["lacking"]["worse"]] == [
        ("case1", True),
        ("case2", True),
    ]
    assert (len(result["cases"]), len(result["common"]), len(result["ranked"])) == (7, 5, 7)
    pairs = {(item["first"], item["second"]): item for item in result["differences"] if item["structure"] == "liver"}
    assert (pairs["good", "bad"]["pairs"], pairs["good", "bad"]["lacking"]) == (7, 0)
    assert (pairs["good", "worse"]["pairs"], pairs["good", "worse"]["lacking"]) == (5, 2)
    printed = capsys.readouterr().out
    assert "worse, case1: " in printed
    assert "5 cases that all have, of 7: worse lacks 2. The rankings count 7 cases." in printed
    assert "worse, case2: " in (folders / "out" / "compare.md").read_text()
    rows = list(csv.DictReader((folders / "out" / "compare.csv").open()))
    lacking = [row for row in rows if row["status"] == "lacking"]
    assert {(row["method"], row["case"], row["value"], row["rank"]) for row in lacking} == {
        ("worse", "case1", "", "3.0"),
        ("worse", "case2", "", "3.0"),
    }
    assert compare(folders, "--missing", "common", methods=("good", "bad", "worse")) == 1
    common = written(folders)
    assert common["ranked"] == common["common"]
    assert {item["pairs"] + item["undefined"] for item in common["differences"]} == {5}
    assert {item["lacking"] for item in common["differences"]} == {2}


def test_brats_may_be_ranked_by_lesions(tmp_path, capsys):
    """One method finds both lesions of every case, the other misses the small one, which Dice hardly tells."""
    for index in range(4):
        labels = np.zeros((30, 30, 30), np.uint8)
        labels[3:15, 3:15, 3:15], labels[5:12, 5:12, 5:12], labels[22:28, 22:28, 22:28] = 2, 1, 4
        made = {"ref": labels, "finds": np.roll(labels, 1, axis=index % 3)}
        made["misses"] = np.where((labels == 4) & (np.arange(30) > 20), 0, labels)
        for name, array in made.items():
            save(tmp_path / name / f"case{index}.nii.gz", array)
    brats = ("--task", "brats2021", "--empty", "brats", "--lesions", "brats2023")
    lesions = ("--rank-by", "lesion_dice", "lesion_hd95_mm")
    paths = [str(tmp_path / name) for name in ("finds", "misses")]
    reference = ("--reference", str(tmp_path / "ref"))
    assert main(["compare", *paths, *reference, *brats, "--output", str(tmp_path / "out")]) == 0
    assert written(tmp_path)["ranked_by"] == ["dice", "hd95_mm", "nsd"]
    assert main(["compare", *paths, *reference, *brats, *lesions, "--output", str(tmp_path / "out")]) == 0
    result = written(tmp_path)
    assert result["ranked_by"] == ["lesion_dice", "lesion_hd95_mm"]
    assert result["policy"]["lesions"] == "brats2023"
    assert result["policy"]["empty_distance"] == "penalty"
    assert [place["method"] for place in result["rankings"][0]["places"]] == ["finds", "misses"]
    for name in ("finds", "misses"):
        paths = [str(tmp_path / name), str(tmp_path / "ref"), "--output", str(tmp_path / f"report_{name}")]
        assert main(["evaluate", *paths, *brats, "--pictures", "0"]) == 0
    reports = [str(tmp_path / f"report_{name}") for name in ("finds", "misses")]
    assert main(["compare", *reports, "--names", "finds", "misses", "--output", str(tmp_path / "again")]) == 0
    assert written(tmp_path, "again")["differences"] == result["differences"]
    # A report with lesions goes together with predictions that are measured without.
    mixed = [reports[0], str(tmp_path / "misses"), *reference, *brats, "--metrics", "dice"]
    assert main(["compare", *mixed, "--output", str(tmp_path / "mixed")]) == 0
    assert written(tmp_path, "mixed")["ranked_by"] == ["dice"]
    capsys.readouterr()
    assert main(["compare", *reports, "--lesions", "brats2024"]) == 2
    assert "the reports were made with --lesions brats2023, not brats2024" in error(capsys)


def test_resampled_predictions_are_recorded(folders, capsys):
    labels = np.asarray(nib.load(folders / "good" / "case3.nii.gz").dataobj)
    nib.save(nib.Nifti1Image(labels[::-1], np.diag([-1, 1, 2, 1])), folders / "good" / "case3.nii.gz")
    assert compare(folders) == 1
    assert list(case["case"] for case in written(folders)["lacking"]["good"]) == ["case3"]
    assert compare(folders, "--resample-prediction") == 0
    assert list(written(folders)["resampled"]["good"]) == ["case3"]
    how = written(folders)["resampled"]["good"]["case3"]
    assert f"  good, case3: {how}" in capsys.readouterr().out.splitlines()
    assert f"- good, case3: {how}" in (folders / "out" / "compare.md").read_text().splitlines()


def test_the_tables_are_tidy(folders):
    assert compare(folders, "--metrics", "dice", "hd95_mm") == 0
    rows = list(csv.DictReader((folders / "out" / "compare.csv").open()))
    assert len(rows) == 7 * 2 * 2 * 2
    keys = {(row["case"], row["structure"], row["metric"], row["method"]) for row in rows}
    assert len(keys) == len(rows)
    result = written(folders)
    for row in rows:
        value = result["values"][row["metric"]][row["structure"]][row["method"]][result["cases"].index(row["case"])]
        assert row["value"] == ("" if value is None else str(value))
        assert row["status"] == ("undefined" if value is None else "evaluated")
    differences = list(csv.DictReader((folders / "out" / "differences.csv").open()))
    assert [float(row["p"] or "nan") for row in differences] == pytest.approx(
        [item["p"] if item["p"] is not None else float("nan") for item in result["differences"]], nan_ok=True
    )
    assert len(differences) == len(result["differences"]) == 6


def test_selection_holds_for_predictions_and_reports_alike(folders):
    Folds(seed=0, folds=(("case0", "case3", "case4"), ("case1",))).save(folders / "folds.json")
    fold = ("--folds", str(folders / "folds.json"), "--fold", "0")
    assert evaluate(folders, "good") == 0
    assert compare(folders, *fold, methods=("report_good", "worse")) == 0
    assert written(folders)["cases"] == ["case0", "case3", "case4"]
    assert compare(folders, "--cases", "case1", "case3", methods=("report_good", "worse")) == 1
    assert [item["case"] for item in written(folders)["lacking"]["worse"]] == ["case1"]
    assert evaluate(folders, "bad", "--cases", "case3") == 0
    assert compare(folders, "--cases", "case1", "case3", methods=("report_good", "report_bad")) == 1
    assert written(folders)["lacking"]["bad" if "bad" in written(folders)["methods"] else "report_bad"] == [
        {"case": "case1", "message": NOT_ASKED}
    ]


def test_names_are_the_parts_of_the_paths_that_differ(folders):
    for name in ("good", "bad"):
        shutil.copytree(folders / name, folders / "models" / name / "predictions")
    assert compare(folders, methods=("models/good/predictions", "models/bad/predictions")) == 0
    assert written(folders)["methods"] == ["good", "bad"]
    assert compare(folders, "--names", "A", "B", "--rank-by", "iou") == 0
    assert (written(folders)["methods"], written(folders)["ranked_by"]) == (["A", "B"], ["iou"])


def rename(folders):
    for path in list((folders / "bad").iterdir()):
        path.rename(path.with_name(path.name.replace("case", "Case_")))


def error(capsys):
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("swin-unetr compare: ")
    return captured.err


@pytest.mark.parametrize(
    ("arguments", "methods", "code", "words"),
    [
        ((), ("good",), 2, "two or more"),
        ((), ("good", "good"), 2, "the same path is given twice"),
        ((), ("good", "nowhere"), 1, "nowhere: no such folder"),
        (("--names", "A"), ("good", "bad"), 2, "2 different names"),
        (("--names", "A", "A"), ("good", "bad"), 2, "2 different names"),
        (("--task", "btcv"), ("good", "bad"), 2, "give one of them"),
        (("--fold", "0"), ("good", "bad"), 2, "go together"),
        (("--rank-by", "nsd", "--metrics", "dice"), ("good", "bad"), 2, "'nsd' is not one of the metrics compared"),
        (("--metrics", "dise"), ("good", "bad"), 2, "'dise'"),
        (("--seed", "-1"), ("good", "bad"), 2, "seed"),
        (("--missing", "some"), ("good", "bad"), 2, "--missing"),
        (("--epmty", "nan"), ("good", "bad"), 2, "--epmty"),
    ],
)
def test_wrong_arguments_get_one_line(arguments, methods, code, words, folders, capsys):
    assert compare(folders, *arguments, methods=methods) == code
    assert words in error(capsys)
    assert not (folders / "out" / "compare.json").exists()


def test_predictions_need_a_reference(folders, capsys):
    assert main(["compare", str(folders / "good"), str(folders / "bad")]) == 2
    assert "--reference must say" in error(capsys)


def test_reports_that_do_not_fit_each_other(folders, capsys):
    def reports(*arguments):
        capsys.readouterr()
        code = main(["compare", str(folders / "report_good"), str(folders / "report_bad"), *arguments])
        return code, error(capsys)

    assert evaluate(folders, "good") == 0
    assert evaluate(folders, "bad", "--empty", "brats") == 0
    assert reports() == (1, reports()[1])
    assert "another policy than report_good (empty: nan and brats)" in reports()[1]
    assert evaluate(folders, "bad", "--tolerance-mm", "3") == 0
    assert "default_tolerance_mm: 2.0 and 3.0" in reports()[1]
    assert evaluate(folders, "bad", "--metrics", "dice") == 0
    assert reports("--metrics", "nsd")[0] == 2
    assert "not every report has 'nsd'; they share dice" in reports("--metrics", "nsd")[1]
    assert reports("--empty", "brats") == (2, reports("--empty", "brats")[1])
    assert "the reports were made with --empty nan, not brats" in reports("--empty", "brats")[1]
    save(folders / "ref" / "case0.nii.gz", np.ones((20, 18, 12)))
    assert evaluate(folders, "bad") == 0
    assert "case case0 has another reference than for report_good" in reports()[1]
    (folders / "report_bad" / "results.json").write_text("{}")
    assert "is not a result of evaluate" in reports()[1]


def test_no_case_in_common_names_what_nearly_matches(folders, capsys):
    assert evaluate(folders, "good") == 0
    rename(folders)
    for path in list((folders / "ref").iterdir()):
        path.rename(path.with_name(path.name.replace("case", "Case_")))
    assert evaluate(folders, "bad") == 0
    capsys.readouterr()
    assert main(["compare", str(folders / "report_good"), str(folders / "report_bad")]) == 1
    assert "no case in common with report_good (case0 is nearly Case_0;" in error(capsys)


def test_output_that_is_a_file(folders, capsys):
    (folders / "out").write_text("mine")
    assert compare(folders) == 2
    assert "out cannot be made a folder" in error(capsys)
    assert (folders / "out").read_text() == "mine"


def test_one_case_says_nothing_of_how_sure_a_place_is(folders, capsys):
    assert compare(folders, "--cases", "case1") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "good is first by the ranks in every case. A single patient does not say how sure that is." in lines
    assert not any("of resamples" in line for line in lines)


def test_python_compares_as_the_command_does(folders):
    assert compare(folders) == 0
    methods = {name: folders / name for name in ("good", "bad")}
    labels = {"liver": 1, "spleen": 2}
    found = swin_unetr.compare(methods, reference=folders / "ref", task=labels, output=folders / "python")
    assert found.methods == ("good", "bad")
    of_command, of_python = written(folders), written(folders, "python")
    assert of_python["differences"] == of_command["differences"]
    assert of_python["rankings"] == of_command["rankings"]
    assert evaluate(folders, "good") == 0
    with pytest.raises(ConfigError, match="two or more"):
        swin_unetr.compare({"good": folders / "good"}, reference=folders / "ref")
    with pytest.raises(ConfigError, match="empty: the reports were made with --empty nan"):
        swin_unetr.compare({name: folders / "report_good" for name in "ab"}, empty="brats")
