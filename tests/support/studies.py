"""A study on phantoms: another program as an arm that is done in a second, one that fails, and a tiny recipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

#: A recipe that trains in seconds; voxels of 6 mm, so that a crop has some of each organ.
RECIPE = {
    "network": {"feature_size": 4, "depths": [1, 1], "num_heads": [1, 2], "window_size": [4, 4, 4]},
    "preprocess": {"intensity": {"scheme": "hu_window"}, "crop_foreground": False},
    "sampling": {"crop_size": [16, 16, 16], "scans_per_batch": 2},
    "optimizer": {"learning_rate": 0.01, "warmup_epochs": 1},
    "trainer": {"max_epochs": 4, "validate_every": 1, "accelerator": "cpu"},
    "inference": {"roi_size": [32, 32, 24], "overlap": 0.0},
    "validation_overlap": 0.0,
}
#: Labels what is bright; the more training cases and the higher the seed, the higher the threshold. Notes every start.
PROGRAM = """
import json, os, sys
from pathlib import Path
import nibabel
import numpy
listed = json.loads(Path(sys.argv[1]).read_text())["cases"]
images, output, seed = Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
assert all(Path(of["image"]).is_file() and Path(of["label"]).is_file() for of in listed)
with (output / "starts").open("a") as file:
    file.write("started\\n")
(output / "predictions").mkdir(exist_ok=True)
for path in sorted(images.iterdir()):
    image = nibabel.load(path)
    bright = numpy.asarray(image.dataobj) > 80 + 5 * int(seed) + 2 * len(listed)
    labels = nibabel.Nifti1Image(bright.astype(numpy.uint8), image.affine)
    nibabel.save(labels, output / "predictions" / path.name)
(output / "curve.csv").write_text("step,seconds,dice\\n5,30,0.1\\n10,60,0.2\\n")
print("done")
"""


def threshold_arm(folder: Path) -> dict[str, Any]:
    """The arm that runs the program, which is written into a folder with a blank in its name."""
    path = folder / "other programs" / "threshold.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(PROGRAM)
    return {"command": f"{{python}} '{path}' {{training_list}} {{test_images}} {{output}} {{seed}}"}


#: An arm that fails.
BROKEN = {"command": "{python} -c \"raise SystemExit('no licence')\" {output}"}


def write_study(folder: Path, arms: dict[str, Any], **values: Any) -> Path:
    """Write a study of phantoms, whose folder `--data phantoms=FOLDER` gives, and its recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.yaml").write_text(json.dumps(RECIPE))  # JSON is YAML
    study = {"data": {"phantoms": {"num_folds": 3}}, "arms": arms, "budget": {"steps": 4}, "curve_points": 2}
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({**study, **values}, sort_keys=False))
    return path
