"""nnU-Net as an arm of a study, run by the Python of nnU-Net's own environment (written for nnunetv2 2.8.1).

    PYTHON scripts/studies/nnunet_arm.py {training_list} {test_images} --output {output} --minutes {minutes}
        --cores {cores} --seed {seed} [--gpu-memory-target 3]

Plan, network, augmentation and loss are nnU-Net's. It trains `3d_fullres` on all training cases. Its rate falls
by the share of the minutes that is spent, as it would by the share of the epochs, and the training stops when they are.
Fingerprint, plan and preprocessing are not in the minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

_NAME = "Dataset001_study"
_CONFIGURATION = "3d_fullres"
#: Steps between two lines of progress.
_SAY_EVERY = 50


def main() -> None:
    """Convert, plan, train, segment, and leave predictions/ and curve.csv in the output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("training_list", type=Path)
    parser.add_argument("test_images", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gpu-memory-target", type=float, help="of the plan, in GB; by default nnU-Net's")
    arguments = parser.parse_args()
    folders = {name: arguments.output / name for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    for name, folder in folders.items():  # before nnU-Net is imported, which reads them
        shutil.rmtree(folder, ignore_errors=True)  # of an earlier start
        folder.mkdir(parents=True)
        os.environ[name] = str(folder)
    os.environ.setdefault("nnUNet_n_proc_DA", str(max(1, arguments.cores - 1)))
    os.environ.setdefault("nnUNet_compile", "f")
    listed = json.loads(arguments.training_list.read_text(encoding="utf-8"))
    write_dataset(listed, folders["nnUNet_raw"] / _NAME)
    plans, dataset = plan(folders["nnUNet_preprocessed"] / _NAME, arguments.gpu_memory_target, arguments.cores)
    model = train(plans, dataset, 60 * arguments.minutes, arguments.seed, arguments.output / "curve.csv")
    predict(model, arguments.test_images, arguments.output, listed["task"])


def write_dataset(listed: dict[str, Any], folder: Path) -> None:
    """The training cases as nnU-Net wants them: labels numbered in a row, other labels as background."""
    task = listed["task"]
    if task["activation"] != "softmax":
        raise SystemExit("nnunet_arm: overlapping regions are not supported by this script")
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    for case in listed["cases"]:
        images = [case["image"]] if isinstance(case["image"], str) else case["image"]
        for number, image in enumerate(images):
            _place(Path(image), folder / "imagesTr" / f"{case['case']}_{number:04d}.nii.gz")
        new = {value: number for number, target in enumerate(task["targets"], 1) for value in target["labels"]}
        if task["ignore_label"] is not None:
            new[task["ignore_label"]] = len(task["targets"]) + 1
        _relabel(Path(case["label"]), folder / "labelsTr" / f"{case['case']}.nii.gz", new)
    labels = {"background": 0, **{target["name"]: number for number, target in enumerate(task["targets"], 1)}}
    if task["ignore_label"] is not None:
        labels["ignore"] = len(labels)
    description = {
        "channel_names": {str(number): name for number, name in enumerate(task["channels"])},
        "labels": labels,
        "numTraining": len(listed["cases"]),
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description), encoding="utf-8")


def plan(preprocessed: Path, memory: float | None, cores: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """nnU-Net's fingerprint, plan and preprocessing; gives the plan and the description of the data."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprints,
        plan_experiments,
        preprocess,
    )

    extract_fingerprints([1], num_processes=cores)
    identifier = plan_experiments([1], **({} if memory is None else {"gpu_memory_target_in_gb": memory}))
    preprocess([1], identifier, configurations=(_CONFIGURATION,), num_processes=(cores,))
    read = [preprocessed / f"{identifier}.json", preprocessed / "dataset.json"]
    plans, dataset = (json.loads(path.read_text(encoding="utf-8")) for path in read)
    return plans, dataset


def train(plans: dict[str, Any], dataset: dict[str, Any], seconds: float, seed: int, curve: Path) -> Path:
    """Train on all cases until the time is spent; gives the folder of the model."""
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    class Timed(nnUNetTrainer):  # type: ignore[misc]
        """Steps until the time is spent; the learning rate follows the share."""

        def run_training(self) -> None:
            self.on_train_start()
            began, steps = time.monotonic(), 0
            while (spent := time.monotonic() - began) < seconds:
                self.network.train()
                for group in self.optimizer.param_groups:
                    group["lr"] = self.initial_lr * (1 - spent / seconds) ** 0.9
                self.train_step(next(self.dataloader_train))
                steps += 1
                if steps % _SAY_EVERY == 0:
                    print(f"step {steps}, {time.monotonic() - began:.0f} of {seconds:.0f} s", flush=True)
            curve.write_text(f"step,seconds,dice\n{steps},{time.monotonic() - began:.1f},\n", encoding="utf-8")
            self.save_checkpoint(str(Path(self.output_folder) / "checkpoint_final.pth"))
            for loader in (self.dataloader_train, self.dataloader_val):
                if hasattr(loader, "_finish"):
                    loader._finish()

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  # nnU-Net draws from it
    torch.manual_seed(seed)
    Timed.__name__ = nnUNetTrainer.__name__  # by which the prediction finds the trainer
    trainer = Timed({**plans, "continue_training": False}, _CONFIGURATION, "all", dataset, device=_device())
    trainer.run_training()
    return Path(trainer.output_folder).parent


def predict(model: Path, images: Path, output: Path, task: dict[str, Any]) -> None:
    """Segment the test images, and write the label values of the data."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    device = _device()
    predictor = nnUNetPredictor(
        use_mirroring=True, perform_everything_on_device=device.type == "cuda", device=device, allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(
        str(model), use_folds=("all",), checkpoint_name="checkpoint_final.pth"
    )
    given, found = output / "test", output / "found"
    for folder in (given, found, output / "predictions"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    for path in images.iterdir():
        stem, number = path.name.removesuffix(".nii.gz"), ""
        if len(task["channels"]) == 1:
            number = "_0000"
        _place(path, given / f"{stem}{number}.nii.gz")
    predictor.predict_from_files(
        str(given), str(found), num_processes_preprocessing=1, num_processes_segmentation_export=1
    )
    old = {number: target["write_as"] for number, target in enumerate(task["targets"], 1)}
    for path in found.glob("*.nii.gz"):
        _relabel(path, output / "predictions" / path.name, old)


def _place(image: Path, target: Path) -> None:
    """Link a NIfTI file; convert another one."""
    import SimpleITK as sitk  # noqa: N813

    if image.name.endswith(".nii.gz"):
        target.symlink_to(image.resolve())
    else:
        sitk.WriteImage(sitk.ReadImage(str(image)), str(target))


def _relabel(path: Path, target: Path, new: dict[int, int]) -> None:
    """Write a label file with new values; values that have none become background."""
    import SimpleITK as sitk  # noqa: N813

    image = sitk.ReadImage(str(path))
    values = sitk.GetArrayFromImage(image)
    changed = np.zeros(values.shape, np.uint8)
    for old, value in new.items():
        changed[values == old] = value
    written = sitk.GetImageFromArray(changed)
    written.CopyInformation(image)
    sitk.WriteImage(written, str(target))


def _device() -> Any:
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


if __name__ == "__main__":
    main()
