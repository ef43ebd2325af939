"""Times prediction, NIfTI in to NIfTI out, against MONAI's network and sliding window, on the same weights and scans.

    python scripts/bench_inference.py [--output DIR] [--scans ct brats] [--variants torch:float32 openvino:bfloat16 ...]
    python scripts/bench_inference.py --quick                      # part of the CT, a minute or two a variant
    python scripts/bench_inference.py --device cuda --variants torch:bfloat16 compile:bfloat16

The scans are real: the torso CT of the test data resampled to 1.5 mm, and four MR channels of the size of BraTS
(240 x 240 x 155) made of a patient of BraTS 2013, whose two modalities are there again mirrored. Weights are random
unless --model gives a trained one for each scan. MONAI is used as its tutorials do it: LoadImaged, Orientationd,
CropForegroundd, Spacingd, the intensities, sliding_window_inference, Invertd, and the file; in float32 and, as
`monai:bfloat16`, under autocast. Every variant runs in a process of its own, whose peak memory is its own.

"share" is the arithmetic of the windows computed, over the time of the network, over what the machine's largest matrix
product reaches in the same precision. Labels are compared with MONAI's in float32. `faster` counts the whole case;
`all windows` what it would be had no window been skipped (the network's time per window times all of them).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from inference_cases import make_model, make_scan
from torch.utils.flop_counter import FlopCounterMode

from swin_unetr.checkpoints import export_monai_weights, load_model
from swin_unetr.config import InferenceConfig, NetworkConfig, PreprocessConfig
from swin_unetr.files import write_json
from swin_unetr.networks import build_network
from swin_unetr.provenance import commit, versions
from transforms.geometry import Geometry
from transforms.io import read_geometry, read_labels, write_labels
from transforms.labels import decode_activations

REFERENCE = "monai:float32"
VARIANTS = (REFERENCE, "torch:float32", "torch:bfloat16", "openvino:float32", "openvino:bfloat16")


@dataclass(frozen=True)
class Job:
    """What one process is to do."""

    variant: str
    scan: str
    model: str
    output: str
    device: str
    skip_empty: bool
    max_memory: str | None

    @property
    def backend(self) -> str:
        """Before the colon."""
        return self.variant.partition(":")[0]

    @property
    def precision(self) -> str:
        """Behind the colon."""
        return self.variant.partition(":")[2]


def main() -> None:
    """Make scans and models, run every variant on every scan, compare, print, write bench_inference.json."""
    arguments = _parser().parse_args()
    if arguments.job:
        job = Job(**json.loads(arguments.job))
        print(json.dumps(product_speeds(job.device) if job.variant == "peak" else run_job(job)))
        return
    if arguments.quick:
        arguments.scans = ["ct"]
    arguments.output.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {
        "command": shlex.join(["python", *sys.argv]),
        "machine": {"system": platform.platform(), "cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "versions": versions(),
        "commit": commit(),
    }
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        report["peak_gflops"] = in_process(_job(arguments, "peak", work, work, work))
        report["scans"] = {name: compared(arguments, name, report["peak_gflops"], work) for name in arguments.scans}
    write_json(arguments.output / "bench_inference.json", report)
    print(f"written: {arguments.output / 'bench_inference.json'}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--output", type=Path, default=Path("runs/bench_inference"), help="folder of the JSON")
    add("--device", default="cpu")
    add("--scans", nargs="+", choices=("ct", "brats"), default=["ct", "brats"])
    add("--variants", nargs="+", default=list(VARIANTS), metavar="BACKEND:PRECISION", help="monai:float32 always runs")
    add("--model", nargs="+", type=Path, default=[], help="trained models, one for each of --scans")
    add("--feature-size", type=int, default=48)
    add("--roi", type=int, default=96, help="voxels of a window along each axis")
    add("--overlap", type=float, default=0.5)
    add("--crop", type=int, nargs=3, metavar=("X", "Y", "Z"), help="take the middle of the scans only")
    add("--quick", action="store_true", help="the CT, 160 x 160 x 144 voxels of it")
    add("--skip-empty", action=argparse.BooleanOptionalAction, default=True, help="of ours")
    add("--max-memory", help="of ours, such as 4GB")
    add("--job", help=argparse.SUPPRESS)  # the processes of the benchmark
    return parser


def compared(arguments: argparse.Namespace, name: str, peaks: dict[str, float], work: Path) -> dict[str, Any]:
    """All variants on one scan."""
    scan, model, output = work / f"{name}.nii.gz", work / f"{name}_model", work / f"{name}_results"
    shape = make_scan(name, scan, (160, 160, 144) if arguments.quick else arguments.crop)
    if arguments.model:
        model = arguments.model[arguments.scans.index(name)]
    else:
        roi = (arguments.roi, arguments.roi, arguments.roi)
        make_model(name, model, arguments.feature_size, InferenceConfig(roi_size=roi, overlap=arguments.overlap))
    network = load_model(model).network
    inference = load_model(model).description.inference
    flops = window_flops(network.config, inference.roi_size)
    print(f"\n{name}: {shape} voxels, windows of {inference.roi_size}, {flops / 1e9:.0f} GFLOP each")
    heads = ("total s", "read", "network", "write", "load", "windows", "skipped", "w/s", "share", "RSS GB", "GPU GB")
    print(f"{'':20}" + "".join(f"{head:>9}" for head in (*heads, "faster", "all win.", "equal", "min Dice")))
    rows: dict[str, dict[str, Any]] = {}
    for variant in dict.fromkeys((REFERENCE, *arguments.variants)):
        job = _job(arguments, variant, scan, model, output / variant.replace(":", "_"))
        row = in_process(job)
        rows[variant] = row
        every = row["windows"] + row["skipped"]
        base = rows[REFERENCE]["total_s"]
        unskipped = row["total_s"] + row["network_s"] * row["skipped"] / max(row["windows"], 1)
        row["windows_per_s"] = row["windows"] / row["network_s"]
        row["share_of_peak"] = row["windows_per_s"] * flops / 1e9 / peaks[row["precision"]]
        row |= {"faster": base / row["total_s"], "faster_all_windows": base / unskipped, "all_windows": every}
        row |= agreement(labels_of(rows[REFERENCE]), labels_of(row))
        _print_row(variant, row)
    return {"shape": list(shape), "gflop_per_window": flops / 1e9, "variants": rows}


def _job(arguments: argparse.Namespace, variant: str, scan: Path, model: Path, output: Path) -> Job:
    return Job(
        variant, str(scan), str(model), str(output), arguments.device, arguments.skip_empty, arguments.max_memory
    )


def _print_row(variant: str, row: dict[str, Any]) -> None:
    seconds = [row[f"{name}_s"] for name in ("total", "read", "network", "write", "load")]
    cells = [f"{value:9.1f}" for value in seconds] + [f"{row['windows']:9d}{row['skipped']:9d}"]
    cells += [f"{row[name]:9.2f}" for name in ("windows_per_s", "share_of_peak", "rss_gb", "gpu_gb", "faster")]
    cells += [f"{row['faster_all_windows']:9.2f}{row['labels_equal']:9.5f}{row['min_dice']:9.4f}"]
    print(f"{variant:20}" + "".join(cells), flush=True)


def in_process(job: Job) -> Any:
    """Run a job in a process of its own."""
    command = [sys.executable, __file__, "--job", json.dumps(asdict(job))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def window_flops(config: NetworkConfig, roi_size: tuple[int, int, int]) -> int:
    """Operations of a window, counted without computing it."""
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        build_network(config)(torch.empty(1, config.in_channels, *roi_size))
    return int(counter.get_total_flops())


def run_job(job: Job) -> dict[str, Any]:
    """One variant on one scan: seconds by phase, windows, memory, and where the labels are."""
    Path(job.output).mkdir(parents=True, exist_ok=True)
    row = run_monai(job) if job.backend == "monai" else run_ours(job)
    cuda = job.device.startswith("cuda")
    return {
        **row,
        "rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        / (1e9 / 1024 if sys.platform != "darwin" else 1e9),
        "gpu_gb": torch.cuda.max_memory_allocated() / 1e9 if cuda else 0.0,
    }


def run_ours(job: Job) -> dict[str, Any]:
    """Ours, by `predict`; the seconds are those of its record."""
    from swin_unetr.inference.run import predict

    began = time.monotonic()
    report = predict(
        job.model,
        job.scan,
        job.output,
        device=job.device,
        backend=job.backend,
        precision=job.precision,
        max_memory=job.max_memory,
        skip_empty=job.skip_empty,
        progress=False,
    )
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
    network = SwinUNETR(
        in_channels=config.in_channels,
        out_channels=config.num_classes,
        feature_size=config.feature_size,
        downsample=config.merging,
        use_v2=config.use_v2,
    )
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

    half = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(job.precision)
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
    facts = {"windows": windows, "skipped": 0, "labels": str(path), "precision": job.precision}
    return {"total_s": read + network_s + write, **phases, **facts}


def monai_transforms(config: PreprocessConfig) -> Any:
    """MONAI's steps from the file to the network; cropped before the resampling, as ours, so that labels compare."""
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


def labels_of(row: dict[str, Any]) -> Any:
    """Label values of a result."""
    return read_labels(Path(row["labels"])).array


def agreement(wanted: Any, found: Any) -> dict[str, Any]:
    """Share of equal voxels, and the least Dice of a class that the reference has."""
    dice = {}
    for value in np.unique(wanted):
        here, there = wanted == value, found == value
        dice[str(int(value))] = float(2 * (here & there).sum() / (here.sum() + there.sum()))
    return {"labels_equal": float((wanted == found).mean()), "min_dice": min(dice.values()), "dice": dice}


def product_speeds(device: str) -> dict[str, float]:
    """GFLOP/s of a large matrix product in every precision."""
    extent, clock = 4096 if device == "cpu" else 8192, _clock(device)
    speeds = {}
    for name in ("float32", "bfloat16", "float16")[: 2 if device == "cpu" else 3]:
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


if __name__ == "__main__":
    main()
