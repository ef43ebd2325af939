"""The jobs of bench/inference.py: each runs in its own process, and its result is printed as JSON."""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from swin_unetr.checkpoints import export_monai_weights, load_model
from swin_unetr.config import PreprocessConfig
from swin_unetr.device import native_precisions
from transforms.geometry import Geometry
from transforms.io import read_geometry, write_labels
from transforms.labels import decode_activations


@dataclass(frozen=True)
class Job:
    """The work of one process."""

    #: Backend and precision, and perhaps the type of the sums, with colons between; or "peak".
    variant: str
    scan: str
    model: str
    output: str
    device: str
    #: Options of `predict`, for ours.
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def words(self) -> tuple[str, str, str]:
        """Backend, precision, type of the sums."""
        backend, precision, accumulate = (*self.variant.split(":"), "auto")[:3]
        return backend, precision, accumulate


def run_job(job: Job) -> dict[str, Any]:
    """One variant on one scan: seconds by phase, windows, memory, and where the labels are."""
    Path(job.output).mkdir(parents=True, exist_ok=True)
    row = run_monai(job) if job.words[0] == "monai" else run_ours(job)
    cuda = job.device.startswith("cuda")
    return {
        **row,
        "rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        / (1e9 / 1024 if sys.platform != "darwin" else 1e9),
        "gpu_gb": torch.cuda.max_memory_allocated() / 1e9 if cuda else 0.0,
    }


def run_ours(job: Job) -> dict[str, Any]:
    """Ours, with `predict`; the seconds are those of its record."""
    from swin_unetr.inference.batch.run import predict

    began = time.monotonic()
    options = {**dict(zip(("backend", "precision", "accumulate"), job.words, strict=True)), **job.options}
    report = predict(job.model, job.scan, job.output, device=job.device, progress=False, **options)
    elapsed = time.monotonic() - began
    if report.failures:
        raise SystemExit(f"{job.variant}: {report.failures[0].message}")
    (case,) = report.done
    record = json.loads((Path(job.output) / f"{case}.json").read_text(encoding="utf-8"))
    phases = {f"{name}_s": record["seconds_by_phase"][name] for name in ("read", "network", "write")}
    total = sum(phases.values())
    windows = {"windows": record["windows"]["computed"], "skipped": record["windows"]["skipped"]}
    labels = str(Path(job.output) / f"{case}.nii.gz")
    facts = {"labels": labels, "precision": record["precision"], "plan": record.get("plan")}
    return {"total_s": total, **phases, "load_s": elapsed - total, **windows, **facts}


def run_monai(job: Job) -> dict[str, Any]:
    """MONAI's network and transforms, as in its tutorials; only the decision on labels and the file are ours."""
    from monai.inferers import sliding_window_inference
    from monai.networks.nets import SwinUNETR
    from monai.transforms import Invertd

    clock = _clock(job.device)
    began = clock()
    model = load_model(job.model)
    config, description = model.network.config, model.description
    assert description.task is not None
    same = ("in_channels", "feature_size", "depths", "num_heads", "window_size", "use_v2")
    theirs = {"out_channels": config.num_classes, "downsample": config.merging, "patch_size": config.patch_size[0]}
    network = SwinUNETR(**{name: getattr(config, name) for name in same}, **theirs)
    network.load_state_dict(export_monai_weights(model.network))
    network.eval().to(job.device)
    del model
    transforms = monai_transforms(description.preprocess)
    times = [began, clock()]
    case = transforms({"image": job.scan})
    times.append(clock())
    windows, inference = 0, description.inference

    def counted(batch: torch.Tensor) -> Any:
        nonlocal windows
        windows += len(batch)
        return network(batch)

    half = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(job.words[1])
    with torch.inference_mode(), torch.autocast(job.device.partition(":")[0], half, enabled=half is not None):
        case["pred"] = sliding_window_inference(
            case["image"][None].to(job.device), inference.roi_size, 1, counted, inference.overlap, mode="gaussian"
        )[0]
    times.append(clock())
    invert = Invertd("pred", transforms, "image", nearest_interp=False, to_tensor=True)
    scores = invert(case)["pred"].cpu().float()
    activated = scores.softmax(0) if description.task.activation == "softmax" else scores.sigmoid()
    labels = decode_activations(activated, description.task)
    path = Path(job.output) / "labels.nii.gz"
    geometry: Geometry = read_geometry(Path(job.scan))
    write_labels(path, np.asarray(labels), geometry)
    times.append(clock())
    load, read, network_s, write = np.diff(times).tolist()
    phases = {"read_s": read, "network_s": network_s, "write_s": write, "load_s": load}
    facts = {"windows": windows, "skipped": 0, "labels": str(path), "precision": job.words[1]}
    return {"total_s": read + network_s + write, **phases, **facts}


def monai_transforms(config: PreprocessConfig) -> Any:
    """MONAI's steps from the file to the network; cropped before the resampling, as ours, to make labels comparable."""
    from monai import transforms as monai

    low, high = config.intensity.window
    windowed = config.intensity.scheme == "hu_window"
    steps: list[Any] = [monai.LoadImaged("image"), monai.EnsureChannelFirstd("image")]
    steps.append(monai.Orientationd("image", axcodes="RAS", labels=(("L", "R"), ("P", "A"), ("I", "S"))))
    if config.crop_foreground:
        select = (lambda image: image > low) if windowed else (lambda image: image != 0)
        steps.append(monai.CropForegroundd("image", source_key="image", select_fn=select, allow_smaller=True))
    if config.spacing_mm is not None:
        steps.append(monai.Spacingd("image", pixdim=config.spacing_mm, mode="bilinear", padding_mode="border"))
    if windowed:
        steps.append(monai.ScaleIntensityRanged("image", low, high, 0.0, 1.0, clip=True))
    else:
        nonzero = config.intensity.scheme == "zscore_nonzero"
        steps.append(monai.NormalizeIntensityd("image", nonzero=nonzero, channel_wise=True))
    return monai.Compose(steps)


def product_speeds(device: str) -> dict[str, float]:
    """GFLOP/s of a large matrix product in every precision that the device does not emulate."""
    extent, clock = 4096 if device == "cpu" else 8192, _clock(device)
    speeds: dict[str, float] = {}
    for name in native_precisions(device):
        matrix, times = torch.randn(extent, extent, device=device).to(getattr(torch, name)), []
        for _ in range(4):
            began = clock()
            matrix @ matrix
            times.append(clock() - began)
        speeds[name] = 2 * extent**3 / min(times) / 1e9
    return speeds


def _clock(device: str) -> Any:
    def now() -> float:
        if device != "cpu":
            torch.cuda.synchronize()
        return time.monotonic()

    return now
