"""One variant of bench/training.py in a process of its own: its network, its error, time, memory and losses."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from monai.networks.nets import SwinUNETR as MonaiSwinUNETR
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from swin_unetr.checkpoints import export_monai_weights
from swin_unetr.config import NetworkConfig, SpeedConfig
from swin_unetr.networks import build_network, choose_fast_paths
from swin_unetr.provenance import machine
from swin_unetr.training.speed import float32_products, hardware, settle

NUM_CLASSES = 14
#: MONAI as in its tutorials: its fused attention is off while gradients are on, so only the compiler makes it faster.
#: Ours: one more change in each line, and the choice of "auto".
VARIANTS: dict[str, SpeedConfig | None] = {
    "MONAI": None,
    "ours, as written": SpeedConfig(fast=False),
    "+ attention": SpeedConfig(memory_layout="unchanged"),
    "+ memory layout": SpeedConfig(attention="auto", memory_layout="channels_last"),
    "ours, auto": SpeedConfig(),
    "ours, compiled": SpeedConfig(compile=True),
}
#: Named separately: what only a GPU has, and parts that are computed a second time, one more in each line.
GRAPHS = {"ours, CUDA graphs": SpeedConfig(compile="reduce-overhead")}
_PARTS = (*(f"encoder.stages.{stage}" for stage in range(4)), "input_block")
_PARTS += (*(f"skip_blocks.{level}" for level in range(3)), "bottleneck")
_PARTS += tuple(f"decoder.{level}" for level in reversed(range(5)))
RECOMPUTED = {
    f"again: {'' if count == 1 else '+ '}{_PARTS[count - 1]}": SpeedConfig(recompute=_PARTS[:count])
    for count in range(1, len(_PARTS) + 1)
}
ALL: dict[str, SpeedConfig | None] = {**VARIANTS, **GRAPHS, **RECOMPUTED}
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
#: Which part of the time an operation belongs to, by its name; the first that fits.
PARTS = {
    "convolutions": ("conv",),
    "attention and linears": ("mm", "attend", "attention", "exp2", "softmax", "linear", "amax"),
    "norms and activations": ("norm", "relu", "gelu", "Normalise"),
}
#: How often a norm or activation has to read or write a map at least: the map is read and written, and in the backward
#: pass the map and the gradient are read and a gradient is written.
TOUCHES = 5


def device_name(arguments: argparse.Namespace) -> str:
    """The processor or the GPU that computes."""
    return str(machine()["processor"]) if arguments.device == "cpu" else torch.cuda.get_device_name()


def speed_of(variant: str, device: str) -> SpeedConfig | None:
    """The settings of one of our variants on a device. None for MONAI's."""
    speed = ALL[variant]
    return None if speed is None else settle(speed, hardware(device.partition(":")[0]), precision="32-true")


def network_of(variant: str, feature_size: int, device: str) -> nn.Module:
    """The network of a variant; all have the same weights."""
    torch.manual_seed(0)
    ours = build_network(NetworkConfig(in_channels=1, num_classes=NUM_CLASSES, feature_size=feature_size))
    speed = speed_of(variant, device)
    if speed is not None:
        choose_fast_paths(ours, speed)
        return ours
    theirs = monai_network(ours.config)
    theirs.load_state_dict(export_monai_weights(ours), strict=True)
    return theirs


def monai_network(config: NetworkConfig) -> nn.Module:
    """MONAI's network of the same shape, with its own random weights."""
    form = {"downsample": config.merging, "use_v2": config.use_v2, "feature_size": config.feature_size}
    network: nn.Module = MonaiSwinUNETR(in_channels=config.in_channels, out_channels=config.num_classes, **form)
    return network


def batch_of(arguments: argparse.Namespace, seed: int) -> tuple[Tensor, Tensor]:
    """Blurred noise, and its quantiles as labels: something that can be learnt, the same for both networks."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(arguments.batch[0], 1, *arguments.size[0], generator=generator)
    image = 10 * F.avg_pool3d(noise, 9, stride=1, padding=4)
    labels = torch.bucketize(image[:, 0], torch.linspace(-1, 1, NUM_CLASSES - 1))
    return image.to(arguments.device), labels.to(arguments.device)


def gradients(network: nn.Module, image: Tensor, labels: Tensor, precision: torch.dtype) -> Tensor:
    """Loss of one batch; its gradients are in the parameters."""
    with torch.autocast(image.device.type, torch.bfloat16, enabled=precision == torch.bfloat16):
        logits = network(image)
    loss = F.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), labels)
    torch.autograd.backward(loss)
    return loss.detach()


def measured(arguments: argparse.Namespace) -> dict[str, Any]:
    """Error, time, memory and parts of one variant; with `--by-part` only time and memory."""
    (precision,) = (PRECISIONS[name] for name in arguments.precision)
    image, labels = batch_of(arguments, 0)
    network = network_of(arguments.variant, arguments.feature_size, arguments.device).to(arguments.device)
    speed = speed_of(arguments.variant, arguments.device)
    fused = speed is None or speed.fused_optimizer is True  # MONAI's with its best setting
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=fused)
    clock, peak = clocks(arguments.device)
    times = []
    with nullcontext() if speed is None else float32_products(speed):
        for step in range(arguments.steps + 1):
            started = clock()
            loss = gradients(network, image, labels, precision)
            if step == 0 and arguments.truth is not None:
                found = {name: value.grad.double().cpu() for name, value in named(network)}
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            times.append(clock() - started)
    assert loss.isfinite()
    result = {"step_s": min(times[1:]), "memory_gb": peak()}  # before the profiler takes memory
    if arguments.by_part:
        return result
    with profile(activities=[ProfilerActivity.CPU]) as trace:
        gradients(network, image, labels, precision)
    events = trace.key_averages()
    parts = dict.fromkeys([*PARTS, "rest"], 0.0)
    for event in events:
        fits = (part for part, words in PARTS.items() if any(word in event.key for word in words))
        parts[next(fits, "rest")] += event.self_cpu_time_total / 1e6
    if arguments.truth is not None:
        result["gradient_error"] = gradient_error(found, torch.load(arguments.truth, weights_only=True), arguments)
    return {
        **result,
        "operations": sum(event.count for event in events if event.key.startswith("aten::")),
        "parts_s": {name: round(seconds, 3) for name, seconds in parts.items()},
    }


def reference(arguments: argparse.Namespace) -> dict[str, Any]:
    """MONAI's network: the work of a step, and its gradients in float64, which are written to a file.

    The work is counted on a network without memory, so that it is known even if float64 does not fit.
    """
    config = NetworkConfig(in_channels=1, num_classes=NUM_CLASSES, feature_size=arguments.feature_size)
    counted = monai_network(config).to("meta")
    values = _count_values(counted)
    with FlopCounterMode(display=False) as counter:
        torch.autograd.backward(counted(torch.empty(arguments.batch[0], 1, *arguments.size[0], device="meta")).mean())
    operations = counter.get_flop_counts()["Global"]
    convolutions = sum(count for name, count in operations.items() if "conv" in str(name))
    work = {
        "convolutions": convolutions,
        "attention and linears": sum(operations.values()) - convolutions,
        "norms and activations": values[0],
    }
    print(json.dumps({"work": work}), flush=True)
    network = network_of("MONAI", arguments.feature_size, arguments.device).double().to(arguments.device)
    image, labels = batch_of(arguments, 0)
    gradients(network, image.double(), labels, torch.float64)
    torch.save({name: value.grad.cpu() for name, value in named(network)}, arguments.truth)
    return {"work": work}


def _count_values(network: nn.Module) -> list[int]:
    """Counts the output values of norms and activations when the network runs."""
    values = [0]

    def count(_module: nn.Module, _inputs: Any, result: Tensor) -> None:
        values[0] += result.numel()

    for module in network.modules():
        if isinstance(module, nn.InstanceNorm3d | nn.LayerNorm | nn.LeakyReLU | nn.GELU):
            module.register_forward_hook(count)
    return values


def floors(arguments: argparse.Namespace) -> dict[str, float]:
    """The speed of this machine in a precision: operations a second of a large matrix product, and of a copy in memory.

    The speed of the copy is given in values of norms and activations a second.
    """
    (precision,) = (PRECISIONS[name] for name in arguments.precision)
    clock, _ = clocks(arguments.device)
    return {
        "operations_per_s": product_speed(precision, arguments.device, clock),
        "values_per_s": copy_speed(precision, arguments.device, clock) * 2 / TOUCHES,
    }


def named(network: nn.Module) -> list[tuple[str, Any]]:
    """Parameters that have a gradient."""
    return [(name, value) for name, value in network.named_parameters() if value.grad is not None]


def gradient_error(found: dict[str, Tensor], wanted: dict[str, Tensor], arguments: argparse.Namespace) -> float:
    """|found - wanted| / |wanted| over all parameters; ours are renamed as in MONAI's state dict."""
    if ALL[arguments.variant] is not None:
        carrier = network_of(arguments.variant, arguments.feature_size, arguments.device).double()
        with torch.no_grad():
            for name, value in carrier.named_parameters():
                value.copy_(found[name]) if name in found else value.zero_()
        exported = export_monai_weights(carrier)  # type: ignore[arg-type]  # the variant is ours
        found = {name: exported[name] for name in wanted}
    difference = sum(float((found[name] - value).square().sum()) for name, value in wanted.items())
    return float((difference / sum(float(value.square().sum()) for value in wanted.values())) ** 0.5)


def losses(arguments: argparse.Namespace) -> dict[str, Any]:
    """Losses of training, another batch in each step."""
    (precision,) = (PRECISIONS[name] for name in arguments.precision)
    network = network_of(arguments.variant, arguments.feature_size, arguments.device).to(arguments.device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    values = []
    for step in range(arguments.curves):
        values.append(float(gradients(network, *batch_of(arguments, step), precision)))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return {"losses": values}


def clocks(device: str) -> tuple[Callable[[], float], Callable[[], float]]:
    """Seconds so far, and the peak of the memory in GB. On the CPU: its own processor time."""
    if device == "cpu":
        single = torch.get_num_threads() == 1
        return (
            time.process_time if single else time.perf_counter,
            lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20),
        )

    def now() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return now, lambda: torch.cuda.max_memory_allocated() / 2**30


def product_speed(precision: torch.dtype, device: str, clock: Callable[[], float]) -> float:
    """Operations a second of a large matrix product."""
    extent = 2048 if device == "cpu" else 8192
    matrix = torch.randn(extent, extent, device=device).to(precision)
    return 2 * extent**3 / _fastest(lambda: matrix @ matrix, clock)


def copy_speed(precision: torch.dtype, device: str, clock: Callable[[], float]) -> float:
    """Values a second of a copy between two maps that no cache holds."""
    source = torch.zeros(1 << 27, device=device, dtype=precision)
    target = torch.zeros_like(source)
    return len(source) / _fastest(lambda: target.copy_(source), clock)


def _fastest(work: Callable[[], object], clock: Callable[[], float]) -> float:
    times = []
    for _ in range(5):
        started = clock()
        work()
        times.append(clock() - started)
    return min(times[1:])
