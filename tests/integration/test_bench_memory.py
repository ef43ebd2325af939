"""The benchmark of memory runs on a small scan, and says what it measured."""

import json
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_a_small_scan(project_root, test_data, tmp_path):
    command = [sys.executable, project_root / "scripts" / "bench_memory.py", "--output", tmp_path]
    scan = test_data / "ct" / "volumes" / "torso_3mm.nii.gz"
    size = ["--size", "96", "80", "40", "--feature-size", "12", "--roi-size", "32", "32", "32"]
    options = ["--overlap", "0.25", "--backend", "torch", "--precision", "float32", "--no-monai"]
    options += ["--classes", "3", "14"]
    done = subprocess.run([*command, "--scan", scan, *size, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "bench_memory.json").read_text())
    assert set(report["classes"]) == set(report["labels"]) == {"3", "14"}
    assert all(0 < each["peak_bytes"] < 4e9 for each in report["classes"].values())
    assert [each["voxels"] for each in report["series"]] == [96 * 80 * slices for slices in (10, 20, 30, 40)]
    assert all(each["differing"] == 0 and each["values"] > 1 for each in report["labels"].values())
    assert (tmp_path / "bench_memory.png").stat().st_size > 5000
