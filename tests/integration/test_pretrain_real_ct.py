"""Pre-training on every CT there is, NIfTI files and a DICOM series: killed, resumed, and taken up by fine-tuning."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from swin_unetr.checkpoints.model_folder import read_weights

NETWORK = {"feature_size": 4, "depths": [1, 1], "num_heads": [1, 2], "window_size": [4, 4, 4]}
RECIPE = {
    "network": NETWORK,
    "preprocess": {"spacing_mm": [8.0, 8.0, 8.0], "intensity": {"scheme": "hu_window", "window": [-1000, 1000]}},
    "scans": {"crop_size": [16, 16, 16], "scans_per_batch": 2, "visits_per_epoch": 2, "num_workers": 0},
    "proxies": {"masked": {"weight": 1.0, "cube": 8}},
    "optimizer": {"learning_rate": 0.001, "warmup_epochs": 1},
    "trainer": {"max_epochs": 4, "validate_every": 2, "accelerator": "cpu"},
}
#: A checkpoint after every epoch, however short.
PROGRAM = """
import sys
from swin_unetr.training import resume_point
resume_point.SAVE_EVERY_SECONDS = 0.0
from swin_unetr.cli import main
raise SystemExit(main(sys.argv[1:]))
"""


def start(project_root: Path, *arguments: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(project_root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def finished(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=400)
    assert process.returncode == 0, said
    return said


def losses(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return [
            {key: value for key, value in row.items() if key not in ("seconds", "loader_share")}
            for row in csv.DictReader(file)
        ]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="kills a group of processes")
def test_all_of_the_ct_trains_survives_a_kill_and_transfers(
    project_root: Path, test_data: Path, phantom_data: Path, tmp_path: Path
) -> None:
    recipe, cache = tmp_path / "tiny.yaml", tmp_path / "cache"
    recipe.write_text(json.dumps(RECIPE))  # JSON is YAML
    call = ("pretrain", "--config", recipe, "--data", test_data / "ct", "--cache", cache, "--output")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    finished(start(project_root, *call, whole))
    record = json.loads((whole / "run.json").read_text())
    names = {Path(scan).name for scan in record["scans"]}
    assert names >= {"torso_3mm.nii.gz", "CT_pitch.nii.gz", "CT_AVM.nii.gz", "torso_sm_ct.nii.gz"}
    assert any("dicom_series" in scan for scan in record["scans"])
    assert not any("totalseg" in name for name in names)  # labels are no scans

    process = start(project_root, *call, broken)
    until = time.monotonic() + 400
    while not list((broken / "checkpoints").glob("*.ckpt")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    finished(start(project_root, *call, broken, "--resume", "auto"))
    assert losses(broken) == losses(whole)
    wanted = read_weights(whole / "last")
    for name, tensor in read_weights(broken / "last").items():
        assert torch.equal(tensor, wanted[name]), name
    assert len(losses(whole)) == RECIPE["trainer"]["max_epochs"]

    tuning = {
        "network": NETWORK,
        "sampling": {"crop_size": [16, 16, 16]},
        "optimizer": {"warmup_epochs": 0},
        "trainer": {"max_epochs": 1, "validate_every": 1, "accelerator": "cpu"},
        "inference": {"roi_size": [32, 32, 24]},
    }
    recipe.write_text(json.dumps(tuning))
    options = ("finetune", "--config", recipe, "--data", phantom_data, "--fold", 0, "--init", broken)
    said = finished(start(project_root, *options, "--output", tmp_path / "fine"))
    assert f"{len(wanted)} tensors loaded" in said
    tuned = {name.removeprefix("encoder.") for name in read_weights(tmp_path / "fine" / "last") if "encoder." in name}
    assert tuned == set(wanted)
