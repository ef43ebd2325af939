"""Times prediction, NIfTI in to NIfTI out, against MONAI's network and sliding window, on the same weights and scans.

    python scripts/bench/inference.py [--output DIR] [--scans ct brats] [--variants torch:float32 openvino:bfloat16 ...]
    python scripts/bench/inference.py --quick                      # part of the CT, a minute or two a variant
    python scripts/bench/inference.py --device cuda --variants torch:bfloat16 compile:bfloat16
    python scripts/bench/inference.py --scans SCAN.nii.gz --model RUN --reference torch:float32
        --variants openvino:bfloat16 torch:float32:float16         # how these change the labels of a trained model

The scans are real: the torso CT of the test data resampled to 1.5 mm, and four MR channels of the size of BraTS
(240 x 240 x 155) made from a patient of BraTS 2013, whose two modalities are used again mirrored; or a file, as it is.
Weights are random unless --model gives a trained model for each scan; for trained models the Dice of each class with
the reference is printed, too. MONAI is used as in its tutorials: LoadImaged, Orientationd, CropForegroundd, Spacingd,
the intensities, sliding_window_inference, Invertd, and the file; in float32 and, as `monai:bfloat16`, under autocast.
Every variant runs in its own process, so that its peak memory can be measured.

"share" is the speed of the network (the operations of the computed windows over its time) as a share of the speed of
the machine's largest matrix product in the same precision. Labels are compared with those of the reference, by default
MONAI's in float32. `faster` counts the whole case; `all windows` is the factor if no window had been skipped (the
network's time per window times all windows).
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from inference_cases import make_model, make_scan
from inference_children import Job, product_speeds, run_job
from torch.utils.flop_counter import FlopCounterMode

from swin_unetr.checkpoints import load_model
from swin_unetr.config import InferenceConfig, NetworkConfig
from swin_unetr.device import native_precisions
from swin_unetr.files import write_json
from swin_unetr.inference.engine.models import model_folder
from swin_unetr.networks import build_network
from swin_unetr.provenance import written_by
from transforms.io import read_labels

VARIANTS = ("monai:float32", "torch:float32", "torch:bfloat16", "openvino:float32", "openvino:bfloat16")


def main() -> None:
    """Make scans and models, run every variant on every scan, compare, print, write bench_inference.json."""
    arguments = _parser().parse_args()
    if arguments.job:
        job = Job(**json.loads(arguments.job))
        print(json.dumps(product_speeds(job.device) if job.variant == "peak" else run_job(job)))
        return
    if arguments.quick:
        arguments.scans = ["ct"]
    native = native_precisions(arguments.device)
    arguments.variants = arguments.variants or [name for name in VARIANTS if name.partition(":")[2] in native]
    arguments.output.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {
        **written_by(),
        "threads": torch.get_num_threads(),
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
    add("--scans", nargs="+", default=["ct", "brats"], metavar="SCAN", help="ct, brats, or a file")
    add(
        "--variants",
        nargs="+",
        metavar="BACKEND:PRECISION[:SUMS]",
        help="by default MONAI, torch and OpenVINO in the precisions that the device does not emulate",
    )
    add("--reference", default=VARIANTS[0], help="the variant to compare the others with; it always runs")
    add("--model", nargs="+", type=Path, default=[], help="trained models or runs, one for each of --scans")
    add("--feature-size", type=int, default=48)
    add("--roi", type=int, default=96, help="voxels of a window along each axis")
    add("--overlap", type=float, default=0.5)
    add("--crop", type=int, nargs=3, metavar=("X", "Y", "Z"), help="take the middle of the scans only")
    add("--quick", action="store_true", help="the CT, 160 x 160 x 144 voxels of it")
    add("--skip-empty", action=argparse.BooleanOptionalAction, default=True, help="option of ours")
    add("--max-memory", help="limit for ours, such as 4GB")
    add("--job", help=argparse.SUPPRESS)  # the processes of the benchmark
    return parser


def compared(arguments: argparse.Namespace, name: str, peaks: dict[str, float], work: Path) -> dict[str, Any]:
    """Run all variants on one scan, and compare them."""
    index = arguments.scans.index(name)
    scan, model, output = work / f"scan{index}.nii.gz", work / f"model{index}", work / f"results{index}"
    shape = make_scan(name, scan, (160, 160, 144) if arguments.quick else arguments.crop)
    if arguments.model:
        model = model_folder(arguments.model[index])
    else:
        roi = (arguments.roi, arguments.roi, arguments.roi)
        make_model(name, model, arguments.feature_size, InferenceConfig(roi_size=roi, overlap=arguments.overlap))
    description = load_model(model).description
    inference = description.inference
    flops = window_flops(description.network, inference.roi_size)
    print(f"\n{name}: {shape} voxels, windows of {inference.roi_size}, {flops / 1e9:.0f} GFLOP each")
    heads = ("total s", "read", "network", "write", "load", "windows", "skipped", "w/s", "share", "RSS GB", "GPU GB")
    print(f"{'':24}" + "".join(f"{head:>9}" for head in (*heads, "faster", "all win.", "equal", "min Dice")))
    rows: dict[str, dict[str, Any]] = {}
    for variant in dict.fromkeys((arguments.reference, *arguments.variants)):
        job = _job(arguments, variant, scan, model, output / variant.replace(":", "_"))
        row = in_process(job)
        rows[variant] = row
        every = row["windows"] + row["skipped"]
        reference = rows[arguments.reference]
        base = reference["total_s"]
        unskipped = row["total_s"] + row["network_s"] * row["skipped"] / max(row["windows"], 1)
        row["windows_per_s"] = row["windows"] / row["network_s"]
        row["share_of_peak"] = row["windows_per_s"] * flops / 1e9 / peaks.get(row["precision"], math.nan)
        row |= {"faster": base / row["total_s"], "faster_all_windows": base / unskipped, "all_windows": every}
        row |= agreement(labels_of(reference), labels_of(row))
        _print_row(variant, row)
        if arguments.model and row is not reference:
            assert description.task is not None
            names = {str(target.write_as): target.name for target in description.task.targets}
            dice = ", ".join(f"{names.get(value, 'background')} {each:.5f}" for value, each in row["dice"].items())
            print(f"{'':24} differing {row['differing']} of {row['voxels']}; Dice: {dice}", flush=True)
    return {"shape": list(shape), "gflop_per_window": flops / 1e9, "variants": rows}


def _job(arguments: argparse.Namespace, variant: str, scan: Path, model: Path, output: Path) -> Job:
    options = {"skip_empty": arguments.skip_empty, "max_memory": arguments.max_memory}
    return Job(variant, str(scan), str(model), str(output), arguments.device, options)


def _print_row(variant: str, row: dict[str, Any]) -> None:
    seconds = [row[f"{name}_s"] for name in ("total", "read", "network", "write", "load")]
    cells = [f"{value:9.1f}" for value in seconds] + [f"{row['windows']:9d}{row['skipped']:9d}"]
    cells += [f"{row[name]:9.2f}" for name in ("windows_per_s", "share_of_peak", "rss_gb", "gpu_gb", "faster")]
    cells += [f"{row['faster_all_windows']:9.2f}{row['labels_equal']:9.5f}{row['min_dice']:9.4f}"]
    print(f"{variant:24}" + "".join(cells), flush=True)


def in_process(job: Job) -> Any:
    """Run a job in its own process."""
    command = [sys.executable, __file__, "--job", json.dumps(asdict(job))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def window_flops(config: NetworkConfig, roi_size: tuple[int, int, int]) -> int:
    """Operations of a window, counted without computing it."""
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        build_network(config)(torch.empty(1, config.in_channels, *roi_size))
    return int(counter.get_total_flops())


def labels_of(row: dict[str, Any]) -> Any:
    """Label values of a result."""
    return read_labels(Path(row["labels"])).array


def agreement(wanted: Any, found: Any) -> dict[str, Any]:
    """Share of equal voxels, and the lowest Dice among the classes of the reference."""
    dice = {}
    for value in np.unique(wanted):
        here, there = wanted == value, found == value
        dice[str(int(value))] = float(2 * (here & there).sum() / (here.sum() + there.sum()))
    differing = {"differing": int((wanted != found).sum()), "voxels": wanted.size}
    return {**differing, "labels_equal": float((wanted == found).mean()), "min_dice": min(dice.values()), "dice": dice}


if __name__ == "__main__":
    main()
