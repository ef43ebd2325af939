"""The benchmark of memory runs on a small scan, and says what it measured."""

import json
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_a_small_scan(project_root, test_data, tmp_path):
    command = [sys.executable, project_root / "scripts" / "bench" / "memory.py", "--output", tmp_path]
    scan = test_data / "ct" / "volumes" / "torso_3mm.nii.gz"
    size = ["--size", "96", "80", "40", "--feature-size", "12", "--roi-size", "32", "32", "32"]
    options = ["--overlap", "0.25", "--backend", "torch", "--precision", "float32", "--classes", "14"]
    options += ["--parts", "classes", "series", "labels"]  # MONAI's network wants larger windows
    done = subprocess.run([*command, "--scan", scan, *size, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "bench_memory.json").read_text())
    whole, labels = report["classes"]["results"]["14"], report["labels"]["results"]["14"]
    series = report["series"]["results"]
    assert [each["voxels"] for each in (*series, whole)] == [96 * 80 * slices for slices in (10, 20, 30, 40)]
    assert all(0 < each["peak_bytes"] < 4e9 for each in (*series, whole))
    assert labels["differing"] == 0
    assert labels["values"] > 1
    assert (tmp_path / "bench_memory.png").stat().st_size > 5000
