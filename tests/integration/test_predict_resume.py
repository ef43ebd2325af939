"""`swin-unetr predict` in processes of its own: killed, stopped, shared, and out of disk; then gone on with."""

import json
import os
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from filelock import FileLock

from swin_unetr.checkpoints import save_model
from swin_unetr.config import InferenceConfig, IntensityConfig, NetworkConfig, PreprocessConfig
from swin_unetr.model_description import ModelDescription
from swin_unetr.networks import build_network
from swin_unetr.phantoms import make_phantoms
from swin_unetr.tasks import Task, exclusive

CASES = [f"phantom_{index:03d}" for index in range(10)]
#: Whatever the machine has.
EXACT = ("--backend", "torch", "--precision", "float32", "--device", "cpu")
#: For whatever a process is waited for.
PATIENCE_SECONDS = 300


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Holds ten scans and a model, and the results of a run in one go."""
    root = tmp_path_factory.mktemp("root")
    phantoms = make_phantoms(root / "phantoms", cases=8, held_back=2, size=(48, 48, 32))
    (root / "scans").mkdir()
    for path in [*phantoms.glob("imagesTr/*"), *phantoms.glob("imagesTs/*")]:
        path.rename(root / "scans" / path.name)
    task = Task(name="organs", modality="CT", channels=("CT",), targets=exclusive(("liver", "spleen")))
    network = NetworkConfig(
        num_classes=task.num_classes, feature_size=12, depths=(1, 1), num_heads=(3, 6), window_size=(4, 4, 4)
    )
    description = ModelDescription(
        kind="segmentation",
        network=network,
        task=task,
        preprocess=PreprocessConfig(intensity=IntensityConfig(scheme="hu_window")),
        inference=InferenceConfig(roi_size=(32, 32, 32), overlap=0.75),
    )
    torch.manual_seed(0)
    save_model(build_network(network), root / "model", description=description)
    assert finish(start(root, root / "undisturbed"))[0] == 0
    return root


def start(root: Path, output: Path, *arguments: object, **options: Any) -> "subprocess.Popen[str]":
    """Start the command in a process of its own."""
    words = ["predict", root / "model", root / "scans", "--output", output, *EXACT, *arguments]
    return subprocess.Popen(
        [sys.executable, "-m", "swin_unetr", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        **options,
    )


def finish(process: "subprocess.Popen[str]") -> tuple[int, list[str], list[str]]:
    """Exit code, lines of standard output, lines of standard error."""
    try:
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()  # where it was too slow
    return process.returncode, out.splitlines(), err.splitlines()


def wait_for_records(output: Path, count: int, process: "subprocess.Popen[str]") -> None:
    """Wait until so many cases have their records."""
    until = time.monotonic() + PATIENCE_SECONDS
    while len(list(output.glob("phantom_*.json"))) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.005)


@contextmanager
def held(output: Path, cases: Sequence[str]) -> Iterator[None]:
    """Hold the locks of cases, as a process that works on them: no other can end them, however fast it is."""
    (output / ".queue").mkdir(parents=True)
    with ExitStack() as stack:
        for case in cases:
            stack.enter_context(FileLock(output / ".queue" / f"{case}.lock"))
        yield


def assert_as_undisturbed(output: Path, root: Path) -> None:
    """All results stand, equal to those of a run in one go, and there is nothing else."""
    elsewhere = root / "undisturbed"
    for case in CASES:
        whole, pieced = (nibabel.load(folder / f"{case}.nii.gz") for folder in (elsewhere, output))
        assert np.array_equal(np.asarray(whole.dataobj), np.asarray(pieced.dataobj))
        assert whole.header == pieced.header
        assert len(np.unique(np.asarray(whole.dataobj))) > 1
    assert sorted(path.name for path in output.iterdir()) == sorted(path.name for path in elsewhere.iterdir())
    record = json.loads((output / "predictions.json").read_text())
    assert (record["status"], record["cases"], record["failures"]) == ("finished", CASES, [])


def test_killed_in_the_middle_and_started_again(root, tmp_path) -> None:
    out = tmp_path / "out"
    with held(out, CASES[5:]):
        first = start(root, out)
        wait_for_records(out, 3, first)
        first.kill()
        assert finish(first)[0] == -signal.SIGKILL
    made = {path.name: path.stat().st_mtime_ns for path in out.glob("phantom_*.json")}
    assert 3 <= len(made) <= 5
    code, stdout, stderr = finish(start(root, out))
    assert (code, stdout) == (0, [f"10 segmented, 0 failed; results in {out}"])
    assert f"{len(made)} of 10 results exist already and are kept; --overwrite renews them" in stderr
    assert {name: (out / name).stat().st_mtime_ns for name in made} == made
    assert_as_undisturbed(out, root)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_run_ends_cleanly_and_says_how_to_go_on(root, tmp_path, number, code) -> None:
    out = tmp_path / "out"
    with held(out, CASES[5:]):
        process = start(root, out)
        wait_for_records(out, 2, process)
        process.send_signal(number)
        got, stdout, stderr = finish(process)
    for lock in (out / ".queue").iterdir():  # the process left what others hold
        assert lock.stem in CASES[5:]
        lock.unlink()
    (out / ".queue").rmdir()
    assert (got, stdout) == (code, [])
    assert "Traceback" not in "\n".join(stderr)
    record = json.loads((out / "predictions.json").read_text())
    made = [case for case in CASES if (out / f"{case}.json").exists()]
    assert (record["status"], record["cases"]) == ("stopped", made)
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [*(f"{case}.json" for case in made), *(f"{case}.nii.gz" for case in made), "predictions.json"]
    )
    (advice,) = [line for line in stderr if line.startswith("to go on: ")]
    assert shlex.split(advice)[3:] == ["swin-unetr", *process.args[3:]]


def test_two_processes_share_the_cases(root, tmp_path) -> None:
    out = tmp_path / "out"
    with held(out, CASES):
        processes = [start(root, out), start(root, out)]
        for process in processes:  # both are at their first case
            assert process.stderr.readline().startswith("torch, float32")
    ends = [finish(process) for process in processes]
    assert [code for code, _, _ in ends] == [0, 0]
    own, others = set(), set()
    for _, stdout, stderr in ends:
        assert stdout == [f"10 segmented, 0 failed; results in {out}"]
        lines = {line.split()[1].rstrip(":"): line for line in stderr if line[0].isdigit()}
        assert lines.keys() == set(CASES)
        elsewhere = {case for case, line in lines.items() if "done by another process" in line}
        assert 0 < len(elsewhere) < 10
        assert not own & (lines.keys() - elsewhere)
        own |= lines.keys() - elsewhere
        others |= elsewhere
    assert own == others == set(CASES)
    assert_as_undisturbed(out, root)


def test_full_disk_leaves_nothing_half_written(root, tmp_path) -> None:
    """A bound on the size of files stands for a disk that is full: writing fails in the same way, midway."""
    out, limit = tmp_path / "out", 100_000
    arguments = ("--save-probabilities", "--cases", *CASES[:2])
    code, stdout, stderr = finish(
        start(root, out, *arguments, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    )
    assert (code, stdout) == (1, [f"0 segmented, 2 failed; results in {out}"])
    for case in CASES[:2]:
        file = f"{out / case}_probabilities.nii.gz"
        words = f"failed: {case}: {file}: cannot be written (File too large); raise the limit"
        assert any(line.startswith(words) for line in stderr)
    assert [path.name for path in out.iterdir()] == ["predictions.json"]
