"""What a prediction is planned to take, against what it takes, over seeded grids, windows, classes and limits."""

import json
import os
import subprocess
import sys

import pytest

#: Memory that is freed goes back to the system at once, so that each prediction's own peak is seen.
PROMPT = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
MEASURE = """
import json
from pathlib import Path
import numpy as np
import torch
from swin_unetr.checkpoints import LoadedModel
from swin_unetr.config import InferenceConfig, IntensityConfig, NetworkConfig, PreprocessConfig
from swin_unetr.errors import ConfigError
from swin_unetr.inference.predictor import Predictor
from swin_unetr.machine import resident
from swin_unetr.model_description import ModelDescription
from swin_unetr.networks import build_network
from swin_unetr.tasks import Task, exclusive
from transforms.geometry import Geometry, Volume

SMALL = {"feature_size": 12, "depths": (1, 1), "num_heads": (3, 6), "window_size": (4, 4, 4)}

def model(classes, inference, spacing, is_swin):
    # One convolution computes many classes in no time: what is summed outweighs the network.
    network = NetworkConfig(in_channels=1, num_classes=classes, **SMALL)
    torch.manual_seed(0)
    weights = build_network(network) if is_swin else torch.nn.Conv3d(1, classes, 1)
    names = tuple(f"structure {index}" for index in range(1, classes))
    description = ModelDescription(
        kind="segmentation",
        network=network,
        task=Task(name="organs", modality="CT", channels=("CT",), targets=exclusive(names)),
        preprocess=PreprocessConfig(
            spacing_mm=spacing,
            crop_foreground=False,
            intensity=IntensityConfig(scheme="hu_window", window=(-100, 200)),
        ),
        inference=inference,
    )
    return LoadedModel(weights, description)

def scan(draw, kind):
    shape, voxel = draw.integers(80, 120, 3).tolist(), draw.uniform(0.8, 1.6, 3).tolist()
    if kind == "thick":
        shape[2], voxel[2] = int(draw.integers(10, 25)), float(draw.uniform(4, 8))
    if kind == "long":
        shape = [64, 64, int(draw.integers(200, 300))]
    if kind == "tiny":
        shape = [24, 24, 24]
    affine = np.diag([*voxel, 1.0])
    if draw.random() < 0.3:  # a gantry tilt: the network's upright grid around it is larger
        affine[1, 2] = draw.uniform(0.1, 0.4) * voxel[2]
    voxels = draw.integers(-100, 200, (1, *shape)).astype(draw.choice([np.int16, np.float32]))
    return Volume(voxels, Geometry(tuple(shape), affine))

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))

def predict(predictor, volume, probabilities):
    prepared = predictor.prepare(volume)
    try:
        plan = predictor.plan(prepared, with_probabilities=probabilities)
    except ConfigError as error:
        return {"refused": str(error)}
    now = resident()
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far is forgotten
    predictor.segment_prepared(prepared, plan=plan, with_probabilities=probabilities)
    return {"taken": peak() - now, "planned": plan.bytes - now, "peak": peak(), "bytes": plan.bytes, "plan": str(plan)}

OUTPUTS = dict(roi_size=(80, 80, 80), overlap=0.5)  # what the network gives outweighs the sums of a narrow tile
MIRRORED = dict(roi_size=(64, 64, 64), overlap=0.25, tta=True, mirror_axes=(0,))
cases = [("tiny", {}), *(("", {}) for _ in range(6)), ("cube", OUTPUTS), ("cube", MIRRORED)]
for seed, (kind, windows) in enumerate(cases):
    draw = np.random.default_rng(seed)
    kind = kind or str(draw.choice(["thick", "long", "cube"]))
    volume = scan(draw, kind)
    spacing = [None, (1.5, 1.5, 1.5), (1.0, 1.0, 2.0), (2.0, 2.0, 2.0)][draw.integers(0, 4)]
    classes, is_swin = int(draw.integers(2, 41)), kind == "tiny" or seed == 5
    overlap = 0.0 if is_swin else float(draw.choice([0.0, 0.25, 0.5]))
    drawn = dict(roi_size=tuple(draw.choice([24, 32, 48], 3).tolist()), overlap=overlap)
    if windows:
        classes, spacing, is_swin = 40, None, False
    given = model(classes, InferenceConfig(**(windows or drawn)), spacing, is_swin)
    options = dict(
        device="cpu", backend="torch", precision="float32", accumulate=str(draw.choice(["auto", "float32", "float16"]))
    )
    probabilities = bool(draw.random() < 0.25)
    roomy = predict(Predictor(given, **options), volume, probabilities)
    if kind == "tiny":  # it loads libraries
        continue
    print(json.dumps(roomy))
    for share in (0.5, 0.25):
        limit = resident() + int(share * roomy["planned"])
        try:
            predictor = Predictor(given, **options, max_memory=limit)
        except ConfigError as error:
            print(json.dumps({"refused": str(error)}))
            continue
        print(json.dumps({**predict(predictor, volume, probabilities), "limit": limit}))
"""
#: What the plan counts at the least beside sums and results: blocks that are finished, and a network's workspace.
BESIDE = 128 << 20


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads and resets the peak of resident memory in /proc")
def test_a_prediction_takes_what_was_planned_of_any_grid() -> None:
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=False, env=PROMPT)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    limited = [each for each in found if "limit" in each and "plan" in each]
    assert len(limited) > 4
    for each in found:
        if "refused" in each:
            assert "is too little for" in each["refused"]
            continue
        assert each["peak"] <= each["bytes"], each
        if "limit" in each:
            assert each["bytes"] <= each["limit"], each
            assert each["planned"] < 2 * each["taken"] + BESIDE, each
