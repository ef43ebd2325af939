"""A model for use elsewhere: ONNX, OpenVINO or torch.export, with what is needed to use it in one JSON file."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from swin_unetr.checkpoints import LoadedModel, load_model
from swin_unetr.config import Triple
from swin_unetr.config_io import to_dict
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.files import keep_foreign, write_json
from swin_unetr.inference.backends.compute import Compute
from swin_unetr.inference.backends.graph import export_graph
from swin_unetr.inference.backends.installed import check_installed
from swin_unetr.inference.backends.protocol import Writer
from swin_unetr.inference.backends.registry import BACKENDS, ExportFormat, find_export, import_named
from swin_unetr.inference.engine.models import model_folder, weights_hash
from swin_unetr.inference.engine.sliding_window import check_roi_size
from swin_unetr.machine import Precision
from swin_unetr.provenance import versions
from swin_unetr.words import why_not_written

#: Says how scans are prepared, what the outputs are, and how the model was checked.
DESCRIPTION = "export.json"
#: Largest relative difference (root mean square) from the network in float32 that is rounding.
_LIMIT: dict[Precision, float] = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 5e-2}


@dataclass(frozen=True)
class Parity:
    """How an exported model compares with the network on a window of noise."""

    #: Root mean square of the difference of the scores over that of the scores.
    relative_difference: float
    #: Share of voxels whose label is the same.
    label_agreement: float


def export_model(
    model: Path,
    output: Path,
    *,
    format: str,
    precision: Precision = "float32",
    roi_size: Triple | None = None,
) -> Parity:
    """Write a model in another format, after a check that it gives the same scores.

    The model takes one window, 1 x channels x *roi_size float32, and gives its class scores, before softmax or
    sigmoid, of the same size. Beside it, `export.json` holds the preparation of scans, the labels, and the check.

    Args:
        model: model folder, or run folder (its `best/`).
        output: folder of the files; made if need be. Files of an earlier export are replaced, others left.
        format: "onnx", "openvino", "torch-export", or what else a backend in `registry.BACKENDS` writes.
        precision: "float32", or another one of the format: "float16" halves the file of the weights, "bfloat16" puts
            autocast into the graph.
        roi_size: voxels of the window along X, Y, Z. If None, the model's own.

    Raises:
        ConfigError: a format that is not installed, a precision that it does not have, a wrong window, a file of the
            user that would be replaced.
        CheckpointError: no usable model.
        DataError: the exported model gives other scores, and is not kept.
    """
    backend, export = find_export(format)
    if precision not in export.precisions:
        raise ConfigError(f"--precision {precision}: {format} takes {' or '.join(export.precisions)}")
    check_installed(backend)
    keep_foreign(output, (export.file, DESCRIPTION), record=DESCRIPTION, keys=("format", "file", "parity"))
    folder = model_folder(model)
    loaded = load_model(folder)
    roi_size = roi_size or loaded.description.inference.roi_size
    check_roi_size(roi_size, loaded.description.network)
    lowered = Compute(torch.device("cpu"), precision) if precision == "bfloat16" else None
    network = loaded.network.eval()
    graph = export_graph(
        network, "scores", roi_size, 1, whole_attention=BACKENDS[backend].whole_attention, lowered=lowered
    )
    partial = output / f".partial-{secrets.token_hex(4)}"
    partial.mkdir(parents=True)
    try:
        run = _write(export, graph, partial / export.file, precision)
        parity = _compare(run, loaded, roi_size)
        if not parity.relative_difference < _LIMIT[precision]:
            raise DataError(
                f"{folder}: as {format} in {precision} its scores differ by {parity.relative_difference:.1e} from the "
                f"network's, more than {_LIMIT[precision]:.0e}; nothing was written, please report it"
            )
        write_json(partial / DESCRIPTION, _description(loaded, folder, export, precision, roi_size, parity))
        for path in sorted(partial.iterdir(), key=lambda path: path.name == DESCRIPTION):
            path.replace(output / path.name)  # the description last
    except OSError as error:
        raise DataError(f"{output}: {why_not_written(error)}") from error
    except RuntimeError as error:
        raise DataError(f"{output}: cannot be written ({error}); make room, or name another folder") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return parity


def _write(
    export: ExportFormat, graph: ExportedProgram, path: Path, precision: Precision
) -> Callable[[Tensor], Tensor]:
    """Write the file, and give what runs it, read back."""
    write: Writer = import_named(export.writer)
    return write(graph, path, precision)


def _compare(run: Callable[[Tensor], Tensor], loaded: LoadedModel, roi_size: Triple) -> Parity:
    channels = loaded.description.network.in_channels
    sample = torch.randn((1, channels, *roi_size), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, found = loaded.network(sample), run(sample).float()
    task = loaded.description.task
    assert task is not None  # of a segmentation model
    exclusive = task.activation == "softmax"
    alike = expected.argmax(1) == found.argmax(1) if exclusive else (expected > 0) == (found > 0)
    difference = (found - expected).norm() / expected.norm()
    return Parity(float(difference), float(alike.float().mean()))


def _description(
    loaded: LoadedModel,
    folder: Path,
    export: ExportFormat,
    precision: Precision,
    roi_size: Triple,
    parity: Parity,
) -> dict[str, Any]:
    description = loaded.description
    task = description.task
    assert task is not None
    return {
        "format": export.name,
        "file": export.file,
        "precision": precision,
        "input": {"shape": [1, description.network.in_channels, *roi_size], "type": "float32", "axes": "BCXYZ, RAS"},
        "output": {"shape": [1, task.num_classes, *roi_size], "meaning": f"scores before the {task.activation}"},
        "preprocess": to_dict(description.preprocess),
        "inference": {**to_dict(description.inference), "roi_size": list(roi_size)},
        "task": to_dict(task),
        "network": to_dict(description.network),
        "source": {"model": str(folder.absolute()), "sha256": weights_hash(folder)},
        "parity": {"sample": "one window of normal noise, seed 0", "against": "torch, float32", **asdict(parity)},
        "versions": versions(),
    }
