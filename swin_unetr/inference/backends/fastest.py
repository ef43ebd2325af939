"""Which of several precisions is the fastest on this machine: measured with the first model, and kept for later."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from swin_unetr.config import Triple
from swin_unetr.files import write_json
from swin_unetr.inference.backends.cache import GraphCache, key_of
from swin_unetr.inference.backends.compute import Compute
from swin_unetr.inference.backends.protocol import Backend
from swin_unetr.machine import Precision
from swin_unetr.networks import SegmentationNetwork

#: A window that takes less than this is not worth a comparison.
WORTH_SECONDS = 0.1
#: Another precision must be faster than the expected one by this factor, so that noise changes nothing.
_CLEARLY = 1.1
#: Largest difference from float32, as a share of the scores, that a lower precision may have on random voxels.
_CLOSE = 0.1
_FILE = "precision.json"


def settle(
    compute: Compute,
    network: SegmentationNetwork,
    open_with: Callable[[Compute], Backend],
    *,
    roi_size: Triple,
    batch_size: int,
    keep: bool,
) -> tuple[Compute, Backend]:
    """Open a network in the fastest of the precisions that are left open.

    The expected precision is taken without a comparison where one window takes less than `WORTH_SECONDS`. Else each
    precision computes one batch of windows, and the choice is kept in the user's cache folder, for networks of this
    shape on this machine.

    Args:
        compute: `compute.precision` is the expected one, `compute.or_else` are the others.
        network: the network, on the device.
        open_with: opens it; called once for each precision that is tried.
        roi_size: voxels of a window along X, Y, Z.
        batch_size: windows of a call.
        keep: whether the choice is kept on disk.

    Returns:
        How it is computed, with nothing left open, and the backend.
    """
    expected = replace(compute, or_else=())
    if not compute.or_else:
        return expected, open_with(expected)
    shape = (batch_size, network.config.in_channels, *roi_size)
    store = GraphCache(Path() if keep else None, machine_code=True)  # the user's cache folder alone
    key = _key(network, compute, shape)
    if (known := _known(store.find(key), compute)) is not None:
        return known, open_with(known)
    sample = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(compute.device)
    backend = open_with(expected)
    seconds, scores = _timed(backend, sample)
    if seconds < WORTH_SECONDS:
        return expected, backend
    measured: dict[Precision, float] = {expected.precision: seconds}
    outputs = {expected.precision: scores}
    for precision in compute.or_else:
        other = open_with(replace(expected, precision=precision))
        measured[precision], outputs[precision] = _timed(other, sample)
        del other
    found = _choice(expected, measured, outputs)
    if found.precision != expected.precision:
        backend = open_with(found)
    kept = store.keep(key, lambda folder: write_json(folder / _FILE, dict(found.window_seconds)))
    agreed = _known(kept, compute)  # of another process, if that was faster
    if agreed is not None and agreed.precision != found.precision:
        return agreed, open_with(agreed)
    return found, backend


def _choice(expected: Compute, measured: Mapping[Precision, float], outputs: Mapping[Precision, Tensor]) -> Compute:
    """The fastest precision; the expected one, unless another is clearly faster or float32 is far from its scores."""
    usable = {name: each for name, each in measured.items() if _is_close(outputs[name], outputs.get("float32"))}
    best = min(usable, key=lambda name: usable[name] * (1.0 if name == expected.precision else _CLEARLY))
    order = sorted(measured, key=lambda name: name != best)
    return replace(expected, precision=best, window_seconds=tuple((name, measured[name]) for name in order))


def _is_close(scores: Tensor, exact: Tensor | None) -> bool:
    if exact is None:
        return bool(scores.isfinite().all())
    return bool((scores - exact).norm() <= _CLOSE * exact.norm())  # false for NaN, too


def _timed(backend: Backend, sample: Tensor) -> tuple[float, Tensor]:
    """Seconds for a window, of the shorter one of two calls, and a copy of the result."""
    best = float("inf")
    for _ in range(2):
        _wait(sample.device)
        started = time.perf_counter()
        result = backend(sample)
        _wait(sample.device)
        best = min(best, time.perf_counter() - started)
    return best / len(sample), result.float().cpu().clone()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _key(network: SegmentationNetwork, compute: Compute, shape: tuple[int, ...]) -> dict[str, Any]:
    """What the speed depends on: not the values of the weights."""
    facts = key_of(network, backend=compute.backend, shape=list(shape), threads=torch.get_num_threads())
    return {**facts, "weights": None, "precisions": [compute.precision, *compute.or_else]}


def _known(folder: Path | None, compute: Compute) -> Compute | None:
    """What was found before; None if there is nothing, or the file is damaged."""
    if folder is None:
        return None
    try:
        seconds = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        found = tuple((str(name), float(each)) for name, each in seconds.items())
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    known = {each: each for each in (compute.precision, *compute.or_else)}
    if not found or any(name not in known for name, _ in found):
        return None
    named = tuple((known[name], each) for name, each in found)  # type: ignore[index]  # checked in the line before
    return replace(compute, precision=named[0][0], or_else=(), window_seconds=named)
