"""The benchmark of a recipe trains each way; a tiny recipe on phantoms."""

import json
import os
import subprocess
import sys

import pytest
import yaml

RECIPE = {
    "network": {"feature_size": 6, "depths": [1, 1], "num_heads": [1, 2], "window_size": [4, 4, 4]},
    "sampling": {"crop_size": [16, 16, 16]},
    "optimizer": {"warmup_epochs": 1},
    "inference": {"roi_size": [16, 16, 16]},
}


@pytest.mark.slow
def test_all_ways_train_the_same(project_root, phantom_data, tmp_path):
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE))
    command = [sys.executable, project_root / "scripts" / "bench" / "recipe.py", "--config", recipe, "--epochs", "2"]
    command += ["--data", phantom_data, "--against", project_root, "--output", tmp_path]
    environment = {**os.environ, "PYTHONPATH": str(project_root)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    fast, written, other = json.loads((tmp_path / "bench_recipe.json").read_text())["results"]
    assert [row["way"] for row in (fast, written, other)] == ["fast", "as written", "other checkout"]
    assert fast["losses"] == other["losses"]  # the same code, bit for bit
    assert written["losses"] == pytest.approx(fast["losses"], rel=1e-3)
    for row in (fast, written, other):
        assert row["epoch_s"] > 0
        assert 0.1 < row["memory_gb"] < 20
        assert 0 <= row["waiting"] < 1
    assert written["times_fast"] == pytest.approx(written["epoch_s"] / fast["epoch_s"])
