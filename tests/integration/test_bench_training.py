"""The benchmark of training steps runs and says what it measured; at a small size."""

import json
import subprocess
import sys

import pytest

from swin_unetr.device import native_precisions


def run(project_root, *options):
    command = [sys.executable, project_root / "scripts" / "bench" / "training.py", "--feature-size", "12", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_batch(project_root, tmp_path):
    run(project_root, "--size", "64", "32", "32", "--batch", "2", "--precision", "float32", "--steps", "1",
        "--variants", "MONAI", "ours, auto", "--output", tmp_path)  # fmt: skip
    rows = json.loads((tmp_path / "bench_training.json").read_text())["results"]
    assert [row["batch"] for row in rows] == [2, 2]
    for row in rows:
        assert row["size"] == [64, 32, 32]
        assert row["step_s"] > 0
        assert row["memory_gb"] > 0
        assert row["operations"] > 100
        assert 0 < row["gradient_error"] < 1e-3
        assert set(row["parts_s"]) == {"convolutions", "attention and linears", "norms and activations", "rest"}
        for part, seconds in row["floor_s"].items():
            assert 0 < seconds < row["step_s"], part
    assert [row["variant"] for row in rows] == ["MONAI", "ours, auto"]
    assert rows[0]["speed_ratio"] == 1
    assert rows[1]["speed_ratio"] == pytest.approx(rows[0]["step_s"] / rows[1]["step_s"])
    assert (tmp_path / "bench_training.png").stat().st_size > 5000


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded by Linux' RLIMIT_DATA")
def test_what_does_not_fit_is_named(project_root, tmp_path):
    run(project_root, "--size", "64", "64", "64", "--batch", "2", "--precision", "float32", "--steps", "1",
        "--variants", "MONAI", "--memory", "1GB", "--output", tmp_path)  # fmt: skip
    (row,) = json.loads((tmp_path / "bench_training.json").read_text())["results"]
    assert row["failed"] == "needs more than 1.0 GB of memory"
    assert set(row["floor_s"]) == {"convolutions", "attention and linears", "norms and activations"}


@pytest.mark.slow
def test_curves(project_root, tmp_path):
    run(project_root, "--size", "64", "32", "32", "--curves", "3", "--output", tmp_path)
    full, *others = json.loads((tmp_path / "bench_training_curves.json").read_text())["results"]
    assert full["whole"] < 1e-4
    assert len(others) == ("bfloat16" in native_precisions("cpu"))
    for half in others:
        assert half["mean"] < 10 * half["monai_by_rounding"]["mean"]
    assert (tmp_path / "bench_training_curves.png").stat().st_size > 5000


@pytest.mark.slow
def test_by_part(project_root, tmp_path):
    run(project_root, "--size", "32", "32", "32", "--by-part", "--precision", "float32", "--steps", "1",
        "--variants", "ours, auto", "again: + decoder.0", "--output", tmp_path)  # fmt: skip
    kept, again = json.loads((tmp_path / "bench_training_by_part.json").read_text())["results"]
    assert (kept["variant"], again["variant"]) == ("ours, auto", "again: + decoder.0")
    assert kept["step_s"] > 0
    assert again["memory_gb"] > 0
    assert (tmp_path / "bench_training_by_part.png").stat().st_size > 5000
