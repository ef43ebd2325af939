"""The benchmark of evaluate runs, agrees with MONAI and says what it measured; on a small scan."""

import json
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_a_small_scan(project_root, tmp_path):
    pytest.importorskip("monai.metrics")
    command = [sys.executable, project_root / "scripts" / "bench" / "evaluation.py", "--output", tmp_path]
    options = ["--size", "160", "160", "72", "--repeats", "1"]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "bench_evaluation.json").read_text())
    assert set(report["results"]) == {"ours", "monai", "monai by class"}
    assert all(of["seconds"] > 0 and of["peak_gb"] > 0 for of in report["results"].values())
    assert {len(values) for values in report["results"]["ours"]["values"].values()} == {14}
    assert report["largest_difference"].keys() == {"dice", "hd95_mm", "nsd"}
    assert "14 structures" in done.stdout
