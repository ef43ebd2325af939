"""The benchmark of prediction runs, agrees with MONAI and says what it measured; on a corner of a scan."""

import json
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_the_middle_of_both_scans(project_root, test_data, tmp_path):
    options = ["--feature-size", "12", "--roi", "64", "--overlap", "0.25", "--crop", "64", "64", "80"]
    command = [sys.executable, project_root / "scripts" / "bench" / "inference.py", "--output", tmp_path, *options]
    done = subprocess.run([*command, "--variants", "torch:float32"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "bench_inference.json").read_text())
    assert report["peak_gflops"]["float32"] > 0
    for scan in ("ct", "brats"):
        rows = report["scans"][scan]["variants"]
        assert set(rows) == {"monai:float32", "torch:float32"}
        ours = rows["torch:float32"]
        assert ours["windows"] + ours["skipped"] == rows["monai:float32"]["windows"]
        assert ours["labels_equal"] > 0.999
        assert 0 < ours["share_of_peak"] < 1.5
        assert ours["rss_gb"] > 0.1
