"""Scores over patients, through the commands: whose a scan is, what the reports say, and what is computed again."""

import csv
import importlib.util
import json
import shutil
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from swin_unetr.cli import main
from swin_unetr.config_io import to_dict
from swin_unetr.tasks import Task, exclusive

LABELS = ("--labels", "liver=1", "spleen=2")
METRICS = ("--metrics", "dice", "hd95_mm", "nsd")


def save(path, labels):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(labels.astype(np.uint8), np.diag([1, 1, 2, 1])), path)


@pytest.fixture
def folders(tmp_path):
    """Eight scans of four patients; five have a spleen; `bad` invents one in the sixth and misses the third."""
    generator = np.random.default_rng(0)
    for index in range(8):
        labels = np.zeros((16, 14, 12), np.uint8)
        labels[2:9, 2:8, 2:9] = 1
        labels[10:14, 4:9, 3:9] = 2 if index < 5 else 0
        holes = np.where(generator.random(labels.shape) < 0.05, 0, np.roll(labels, 1 + index % 2, axis=1))
        holes[10:12, 4:6, 4:6] = np.where(index == 5, 2, holes[10:12, 4:6, 4:6])
        holes = np.where((holes == 2) & (index == 2), 0, holes)
        for name, array in (("ref", labels), ("good", np.roll(labels, index % 3 == 0, axis=0)), ("bad", holes)):
            save(tmp_path / name / f"case{index}.nii.gz", array)
    return tmp_path


def script(request, name):
    path = request.config.rootpath / "scripts" / "check" / f"{name}.py"
    specification = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module


def table(folder, rows=None):
    rows = [(f"case{index}", f"P{index // 2}") for index in range(8)] if rows is None else rows
    path = folder / "patients.csv"
    path.write_text("case,patient\n" + "".join(f"{case},{patient}\n" for case, patient in rows))
    return path


def evaluate(folders, name, *arguments):
    paths = [str(folders / name), str(folders / "ref"), "--output", str(folders / f"report_{name}")]
    return main(["evaluate", *paths, *LABELS, "--pictures", "0", *arguments])


def compare(folders, *arguments, methods=("good", "bad")):
    paths = [str(folders / name) for name in methods]
    return main(["compare", *paths, "--output", str(folders / "out"), *arguments])


def written(folders):
    return json.loads((folders / "out" / "compare.json").read_text())


def error(capsys):
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err


def test_patients_from_beside_the_references_are_in_every_report(folders, request, monkeypatch, capsys):
    table(folders / "ref")
    assert evaluate(folders, "good", *METRICS) == evaluate(folders, "bad", *METRICS) == 0
    assert "Dice of 8 scans of 4 patients, 0 failed" in capsys.readouterr().out
    report = folders / "report_good"
    assert "8 scans of 4 patients evaluated, 0 failed." in (report / "report.md").read_text()
    rows = list(csv.DictReader((report / "results.csv").open()))
    assert {(row["case"], row["patient"]) for row in rows} == {(f"case{i}", f"P{i // 2}") for i in range(8)}
    results = json.loads((report / "results.json").read_text())
    assert results["patients"]["case7"] == "P3"
    liver = next(item for item in results["summary"] if (item["structure"], item["metric"]) == ("liver", "dice"))
    assert (liver["evaluated"], liver["patients"]) == (8, 4)
    by_patient = {}
    for row in rows:
        if (row["structure"], row["metric"]) == ("liver", "dice"):
            by_patient.setdefault(row["patient"], []).append(float(row["value"]))
    assert liver["mean"] == pytest.approx(np.mean([np.mean(of) for of in by_patient.values()]))

    # From reports, the numbers of the comparison computed again by hand.
    reports = ("report_good", "report_bad")
    assert compare(folders, methods=reports) == 0
    assert "2 methods, 8 scans of 4 patients that all have." in capsys.readouterr().out
    item = written(folders)["differences"][1]
    assert (item["structure"], item["pairs"], item["patients"]) == ("liver", 8, 4)
    spleen = written(folders)["differences"][2]
    assert (spleen["pairs"], spleen["undefined"], spleen["patients"]) == (6, 2, 3)
    assert "patient" in (folders / "out" / "compare.csv").read_text().splitlines()[0]
    monkeypatch.setattr("sys.argv", ["comparison.py", *(str(folders / name) for name in ("out", *reports))])
    assert script(request, "comparison").main() == 0


def test_a_list_of_patients_holds_for_predictions_and_reports(folders, capsys):
    path = table(folders, [(f"case{index}", "one" if index < 6 else f"P{index}") for index in range(8)])
    assert evaluate(folders, "good", *METRICS) == 0
    options = ("--reference", str(folders / "ref"), *LABELS, *METRICS, "--patients", str(path))
    assert compare(folders, *options, methods=("report_good", "bad")) == 0
    assert written(folders)["differences"][1]["patients"] == 3
    assert evaluate(folders, "bad", *METRICS, "--patients", str(path)) == 0
    assert json.loads((folders / "report_bad" / "results.json").read_text())["patients"]["case0"] == "one"
    # One report knows the patients, the other does not: they are those of the one.
    assert compare(folders, methods=("report_good", "report_bad")) == 0
    assert written(folders)["differences"][1]["patients"] == 3
    table(folders)
    assert evaluate(folders, "good", *METRICS, "--patients", str(path)) == 0
    capsys.readouterr()
    assert compare(folders, methods=("report_good", "report_bad")) == 1
    assert "case case0 is of patient one, by another report of P0; say which with --patients FILE" in error(capsys)


def test_a_case_that_the_list_beside_the_references_lacks_is_said(folders, capsys):
    table(folders / "ref", [(f"case{index}", f"P{index // 2}") for index in range(1, 8)] + [("CASE0", "P0")])
    assert evaluate(folders, "good", *METRICS) == 0
    note = (
        "the patient of 1 of 8 cases is not known, each of which counts as a patient of its own: "
        "case0 (did you mean CASE0?)"
    )
    assert note in capsys.readouterr().out
    results = json.loads((folders / "report_good" / "results.json").read_text())
    assert results["notes"] == [note]
    assert "case0" not in results["patients"]


def test_a_case_that_cannot_be_listed_is_of_its_patient_all_the_same(folders):
    """So that a failure counts once for each patient."""
    (folders / "ref").rename(folders / "labels")
    (folders / "images").mkdir()
    (folders / "ref").mkdir()
    for name in ("labels", "images"):
        (folders / name).rename(folders / "ref" / name)
    for path in (folders / "ref" / "labels").iterdir():
        shutil.copy(path, folders / "ref" / "images")
    table(folders / "ref")
    shutil.copy(folders / "ref" / "images" / "case1.nii.gz", folders / "ref" / "images" / "case1.nii")
    assert evaluate(folders, "good", *METRICS) == 1
    results = json.loads((folders / "report_good" / "results.json").read_text())
    assert [failure["case"] for failure in results["cases"]["failed"]] == ["case1"]
    assert results["patients"] == {f"case{index}": f"P{index // 2}" for index in range(8)}
    assert not results["notes"]


def test_a_list_that_lacks_a_case_is_refused(folders, capsys):
    path = table(folders, [(f"Case_{index}", "p") for index in range(8)])
    assert evaluate(folders, "good", "--patients", str(path)) == 1
    err = error(capsys)
    assert f"{path}: does not name the patient of 8 of 8 cases (case0 is nearly Case_0;" in err
    assert evaluate(folders, "good", "--patients", str(folders / "nowhere.csv")) == 1
    assert "nowhere.csv: cannot be read" in error(capsys)


def test_patients_by_the_names_of_cases(tmp_path):
    for patient in range(3):
        for visit in (100, 101):
            labels = np.zeros((10, 10, 10), np.uint8)
            labels[2:6, 2:6, 2 : 6 + patient] = 1
            for side in ("ref", "pred"):
                save(tmp_path / side / f"BraTS-GLI-0000{patient}-{visit}.nii.gz", labels)
    paths = [str(tmp_path / "pred"), str(tmp_path / "ref"), "--output", str(tmp_path / "out"), "--pictures", "0"]
    assert main(["evaluate", *paths, "--labels", "tumour=1", "--metrics", "dice"]) == 0
    assert "6 scans of 3 patients evaluated" in (tmp_path / "out" / "report.md").read_text()
    # A report of an earlier version does not say whose the scans are.
    report = tmp_path / "out" / "results.json"
    report.write_text(json.dumps({key: of for key, of in json.loads(report.read_text()).items() if key != "patients"}))
    shutil.copytree(tmp_path / "out", tmp_path / "other")
    assert main(["compare", str(tmp_path / "out"), str(tmp_path / "other"), "--output", str(tmp_path / "both")]) == 0
    assert {
        item["patients"] for item in json.loads((tmp_path / "both" / "compare.json").read_text())["differences"]
    } == {3}


def test_one_folder_that_names_its_structures_is_enough(folders, capsys):
    """`good` is what `predict` wrote; `bad` is from elsewhere, with label files alone."""
    task = Task(name="abdomen", modality="CT", channels=("CT",), targets=exclusive(("liver", "spleen")))
    (folders / "good" / "predictions.json").write_text(json.dumps({"task": to_dict(task)}))
    reference = ("--reference", str(folders / "ref"), *METRICS)
    assert compare(folders, *reference, methods=("bad", "good")) == 0
    assert written(folders)["methods"] == ["bad", "good"]
    assert written(folders)["structures"] == ["liver", "spleen"]
    # A report knows them too.
    (folders / "good" / "predictions.json").unlink()
    assert evaluate(folders, "good", *METRICS) == 0
    assert compare(folders, *reference, methods=("bad", "report_good")) == 0
    capsys.readouterr()
    assert compare(folders, *reference) == 2
    assert "say what the labels mean; give --task" in error(capsys)


def test_reports_hold_how_cases_are_scored(folders):
    assert evaluate(folders, "good", *METRICS) == evaluate(folders, "bad", *METRICS) == 0
    assert compare(folders, methods=("report_good", "report_bad")) == 0
    for page in (folders / "report_good" / "report.html", folders / "out" / "compare.html"):
        text = page.read_text()
        assert '<section id="scoring"><h2>How cases are scored</h2>' in text
        assert 'href="#scoring"' in text
    for page, name in ((folders / "report_good" / "report.md", "report"), (folders / "out" / "compare.md", "compare")):
        assert f"[How cases are scored]({name}.html#scoring)" in page.read_text()


def test_the_documentation_is_the_same_text(project_root: Path):
    page = (project_root / "docs" / "explanation" / "how-cases-are-scored.md").read_text()
    assert "{include} ../../swin_unetr/evaluation/report/page/scoring.md" in page


def test_healthy_cases_through_the_commands(tmp_path, request, monkeypatch, capsys):
    checks = script(request, "comparison")
    monkeypatch.setattr(checks, "swin_unetr", lambda *words: main(list(words)))  # in this process: quicker
    comparison, reports = checks.make_healthy(tmp_path / "made", with_tumour=6, without=24)
    assert checks.check_numbers(comparison, reports) == 0
    assert checks.check_first(comparison) == 0
    assert "A is first in every ranking and ahead in every table" in capsys.readouterr().out


def test_intervals_hold_what_they_promise(request):
    """A quick simulation of a fixed seed; scripts/check/intervals.py has more samples and sizes."""
    checks = script(request, "intervals")
    for patients, scans in ((5, 1), (10, 1), (10, 5)):
        drawn = checks.draw(checks.KINDS[1].quantiles, 1500, patients, scans, np.random.default_rng(3))
        assert 0.915 < checks.covered(drawn, checks.KINDS[1].mean, by_scan=False) < 0.975
    assert checks.covered(drawn[:100], checks.KINDS[1].mean, by_scan=True) < 0.8
    generator = np.random.default_rng(3)
    one, two = (checks.draw(checks.KINDS[1].quantiles, 1500, 10, 5, generator) for _ in range(2))
    assert 0.03 < checks.significant(one, two, by_scan=False) < 0.07
    assert checks.significant(one[:200], two[:200], by_scan=True) > 0.2
