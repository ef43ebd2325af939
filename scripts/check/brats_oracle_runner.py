"""Runs an official BraTS evaluation on folders `pred` and `ref`; for the Python of the oracle's own environment.

`brats_oracle.py` starts it; nothing of swin-unetr is imported here. The oracles:

- `files`: the commands of the PyPI package `brats-evaluation` on the files.
- `images`: the same evaluator on the images as nibabel reads them. As files, panoptica 2.1.7 reads them with
  SimpleITK, whose arrays are z, y, x, and gives it the spacing in the order x, y, z: wrong for anisotropic scans.
- `2023`, `2024`: the organisers' scripts of these years, from a folder that holds them. They were written for older
  libraries, whose names are put back here.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.ndimage

#: Names in the scripts' results, and those that Synapse gave the columns of its file.
_RENAMED = {
    "LesionWise_Score_Dice": "LesionWise_Dice",
    "LesionWise_Score_NSD @ 0.5": "LesionWise_NSD_0.5",
    "LesionWise_Score_NSD @ 1.0": "LesionWise_NSD_1.0",
    "LesionWise_Score_HD95": "LesionWise_Hausdorff95",
    "Legacy_Dice": "Dice",
    "Legacy NSD @ 0.5": "NSD_0.5",
    "Legacy NSD @ 1.0": "NSD_1.0",
    "Legacy_HD95": "Hausdorff95",
    **{name: name for name in ("Sensitivity", "Specificity", "Num_TP", "Num_FP", "Num_FN")},
}
_SCRIPTS = {
    "brats2023": ("metrics", "BraTS-GLI"),
    "brats2023-men": ("metrics", "BraTS-MEN"),
    "brats2023-met": ("metrics", "BraTS-MET"),
    "brats2024": ("metrics_GLI", "BraTS-GLI"),
    "brats2024-ssa": ("metrics_SSA", "BraTS-SSA"),
}


def run_package(folder: Path, by_files: bool) -> dict[str, dict[str, float]]:
    """Columns of the package's table by case."""
    import brats_evaluation

    summary, table = folder / "summary.json", folder / "official.csv"
    scripts = Path(sys.executable).parent
    if by_files:
        sides = ["--ref_path", str(folder / "ref"), "--pred_path", str(folder / "pred"), "--summary_json", str(summary)]
        subprocess.run([str(scripts / "brats-evaluate"), "--config", "GoAT", *sides], check=True, cwd=folder)
    else:
        import nibabel
        from panoptica import Panoptica_Evaluator

        config = Path(brats_evaluation.__file__).parent / "configs" / "config_GoAT.yaml"
        evaluator = Panoptica_Evaluator.load_from_config(str(config))
        metrics = []
        for path in sorted((folder / "ref").iterdir()):
            groups = evaluator.evaluate(nibabel.load(folder / "pred" / path.name), nibabel.load(path))
            metrics.append({name: group.to_dict(True) for name, group in groups.items()} | {"subject_name": path.name})
        summary.write_text(json.dumps({"metrics": metrics, "missings": []}))
    arguments = ["seg", "--json_path", str(summary), "--output_csv_path", str(table)]
    subprocess.run([str(scripts / "brats-parse-metrics"), *arguments], check=True, cwd=folder)
    rows = pd.read_csv(table).set_index("subject_id").drop(["mean", "std", "median"])
    rows.index = rows.index.str.replace(".nii.gz", "", regex=False)
    return {str(case): row.to_dict() for case, row in rows.iterrows()}


def run_script(folder: Path, rules: str) -> dict[str, dict[str, float]]:
    """Columns of Synapse's table by case, from a script in the folder that is on the path."""
    _put_names_back()
    module, challenge = _SCRIPTS[rules]
    script = importlib.import_module(module)
    rows = {}
    for path in sorted((folder / "ref").iterdir()):
        results = script.get_LesionWiseResults(str(folder / "pred" / path.name), str(path), challenge)
        results = (results[0] if isinstance(results, tuple) else results).set_index("Labels")
        rows[path.name.removesuffix(".nii.gz")] = {
            f"{_RENAMED[name]}_{region}": float(results[name][region])
            for name in _RENAMED
            if name in results
            for region in ("ET", "TC", "WT")
        }
    return rows


def _put_names_back() -> None:
    """Restore names that pandas 1.3, numpy 1 and scipy 1.11 still had."""
    for name, value in (("Inf", np.inf), ("NaN", np.nan)):
        setattr(np, name, value)
    for name, member in (("filters", "correlate"), ("morphology", "distance_transform_edt")):
        module = types.ModuleType(name)
        setattr(module, member, getattr(scipy.ndimage, member))
        setattr(scipy.ndimage, name, module)

    def append(self: Any, other: Any) -> Any:
        return pd.concat([self, other])

    def replace(self: Any, old: float, new: float, inplace: bool = False) -> Any:
        # A later pandas fails at columns that hold arrays.
        numbers = [name for name in self.columns if name not in ("predicted_lesion_numbers", "Labels", "Label")]
        changed = self.copy()
        for name in numbers:
            changed[name] = pd.to_numeric(changed[name]).replace(old, new)
            if inplace:
                self[name] = changed[name]
        return None if inplace else changed

    pd.DataFrame.append, pd.DataFrame.replace = append, replace


if __name__ == "__main__":
    oracle, folder, output = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if oracle in ("files", "images"):
        found = run_package(folder, by_files=oracle == "files")
    else:
        sys.path.insert(0, sys.argv[4])
        found = run_script(folder, oracle)
    output.write_text(json.dumps(found))
