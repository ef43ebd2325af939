"""Training, prediction and evaluation call nobody."""

import json
import os
import subprocess
import sys
from pathlib import Path

#: Python tells of every name that is looked up and of every address that is called, whichever library does it.
CHILD = """
import sys
calls = []
def watch(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        calls.append((event, str(arguments[0])))
    if event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        calls.append((event, str(arguments[1])))
    if calls:
        raise PermissionError(f"the network was called: {calls}")
sys.addaudithook(watch)
if sys.argv[1] == "probe":
    import socket
    socket.create_connection(("192.0.2.1", 9), timeout=1)
from swin_unetr.cli import main
data, recipe, output = sys.argv[1:]
assert main(["finetune", "--config", recipe, "--data", data, "--output", f"{output}/run"]) == 0
assert main(["predict", f"{output}/run", f"{data}/imagesTs", "--output", f"{output}/predicted"]) == 0
assert main(["evaluate", f"{output}/predicted", f"{data}/labelsTs", "--output", f"{output}/report"]) == 0
assert not calls
"""
RECIPE = {
    "network": {"feature_size": 4, "depths": [1, 1], "num_heads": [1, 2], "window_size": [4, 4, 4]},
    "preprocess": {"intensity": {"scheme": "hu_window"}, "crop_foreground": False},
    "sampling": {"crop_size": [16, 16, 16]},
    "optimizer": {"warmup_epochs": 0},
    "trainer": {"max_epochs": 1, "accelerator": "cpu"},
    "inference": {"roi_size": [32, 32, 24], "overlap": 0.0},
    "validation_overlap": 0.0,
    "num_folds": 3,
}


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", CHILD, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=500, check=False)


def test_the_commands_call_nobody(phantom_data: Path, tmp_path: Path, project_root: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps(RECIPE))
    done = run(project_root, str(phantom_data), str(recipe), str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "report" / "report.html").is_file()


def test_a_call_would_be_seen(project_root: Path) -> None:
    assert "the network was called" in run(project_root, "probe").stderr
