"""The benchmark of pre-training runs and says what it measured; at a small size."""

import json
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_small_sub_volumes(project_root, tmp_path):
    command = [sys.executable, project_root / "scripts" / "bench" / "pretraining.py", "--output", tmp_path]
    options = ["--size", "64", "32", "32", "--feature-size", "12", "--steps", "1"]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "bench_pretraining.json").read_text())
    published, paper, default = report["results"]
    assert [row["method"] for row in report["results"]] == ["published", "ct_paper", "ct"]
    assert published["speed_ratio"] == 1
    for row in (published, paper, default):
        assert set(row["parts_s"]) == {"views", "forward", "losses", "backward", "optimiser"}
        assert 0 < row["outside"] < 1
        assert row["sub_volumes_per_s"] * row["step_s"] == pytest.approx(2)
        assert row["speed_ratio"] * row["step_s"] == pytest.approx(published["step_s"])
    # Encoder and heads are of the same size, since both are the published ones; norms differ by a little.
    assert paper["parameters"] == pytest.approx(published["parameters"], rel=0.1)
    assert done.stdout.count("\n") == 6
