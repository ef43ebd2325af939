"""What reading and preparing is said to take, against what it takes, over seeded grids, types and files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

#: Memory that is freed goes back to the system at once, so that each scan's own peak is seen.
PROMPT = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
MEASURE = """
import json, sys
from pathlib import Path
import nibabel
import numpy as np
import torch
from swin_unetr.config import IntensityConfig, PreprocessConfig
from swin_unetr.machine import peak_during, resident
from transforms.io import read_header, read_stored
from transforms.prepare import prepare
from transforms.prepare_memory import prepare_bytes

folder, found = Path(sys.argv[1]), []
for seed in range(-1, 8):
    draw = np.random.default_rng(abs(seed))
    thick = int(draw.integers(0, 3))
    shape, voxel = list(draw.integers(90, 190, 3)), list(draw.uniform(0.6, 1.6, 3))
    shape[thick], voxel[thick] = int(draw.integers(15, 60)), float(draw.uniform(2, 6))
    affine = np.diag([*voxel, 1.0])
    if draw.random() < 0.5:  # a gantry tilt: the network's upright grid around it is larger
        affine[1, 2] = draw.uniform(0.1, 0.45) * voxel[2]
    if draw.random() < 0.3:
        affine = affine[[1, 0, 2, 3]]
    scheme = str(draw.choice(["hu_window", "zscore_nonzero", "zscore"]))
    spacing = [None, (1.0, 1.0, 1.0), (1.5, 1.5, 2.0), (3.0, 3.0, 3.0)][draw.integers(0, 4)]
    paths = [folder / f"{index}.nii.gz" for index in range(int(draw.integers(1, 4)))]
    kind = draw.choice([np.int16, np.float32, np.uint8])
    for path in paths:
        nibabel.save(nibabel.Nifti1Image(draw.integers(0, 250, shape).astype(kind), affine), path)
    config = PreprocessConfig(
        spacing_mm=spacing,
        intensity=IntensityConfig(scheme=scheme),
        image_interpolation=str(draw.choice(["linear", "cubic"])),
        through_plane=str(draw.choice(["same", "auto"])),
    )
    with torch.inference_mode():
        before = resident()
        taken = peak_during(lambda: prepare(read_stored(paths), config)) - before
    said = prepare_bytes(*read_header(paths), config, files=len(paths))
    if seed >= 0:  # the first loads libraries
        found.append((taken, said))
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="measures resident memory of glibc's allocator")
def test_reading_takes_what_was_said_of_any_grid(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, tmp_path], capture_output=True, text=True, check=False, env=PROMPT
    )
    assert done.returncode == 0, done.stderr
    pairs = json.loads(done.stdout)
    for taken, said in pairs:
        assert taken < said, pairs
        assert said < 2 * taken + (96 << 20), pairs
