"""The commands `swin-unetr import-weights` and `export-weights`. No torch is imported before arguments are parsed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from swin_unetr.checkpoints.layouts import LAYOUTS, Side, preprocess_of, sources
from swin_unetr.config import InferenceConfig, PreprocessConfig
from swin_unetr.config_io import CommandParser, from_dict, read_yaml
from swin_unetr.datasets.description import task_from
from swin_unetr.errors import ConfigError
from swin_unetr.tasks import BRATS_CONVENTIONS, BTCV, Task, brats

if TYPE_CHECKING:
    from swin_unetr.checkpoints.transfer import TransferReport
    from swin_unetr.networks import SwinUNETR

_TASKS = {BTCV.name: BTCV, **{name: brats(name) for name in BRATS_CONVENTIONS}}


def import_main(argv: Sequence[str]) -> int:
    """Make a model folder from a published file of weights, and print what was done with every tensor.

    Raises:
        ConfigError: wrong arguments, or a task that does not fit the weights.
        CheckpointError: a file that cannot be used.
    """
    arguments = _import_parser().parse_args(list(argv))
    task = None if arguments.task is None else _task(arguments.task)
    if (task is None) != (arguments.recipe is None):
        raise ConfigError("--task and --recipe go together: what the classes are, and how scans are prepared for them")

    from swin_unetr.checkpoints.monai_weights import import_monai_weights  # only now: torch takes seconds

    channels = arguments.channels if task is None else len(task.channels)
    if arguments.source is not None and task is not None:
        raise ConfigError("--source: goes without --recipe, which says how scans are prepared; leave out one of them")
    network, report = import_monai_weights(
        arguments.file, merging=arguments.merging, in_channels=channels, side=arguments.side
    )
    known = ""
    if task is None:
        known = _save_encoder(network, report, arguments.output, arguments.source)
    else:
        _save_whole(network, report, arguments.output, task, arguments.recipe)
    print(report)
    if known:
        print(f"preprocessing: {known}")
    print(f"{'encoder' if task is None else 'model'}: {arguments.output}")
    return 0


def export_main(argv: Sequence[str]) -> int:
    """Write the weights of a model folder in the form that MONAI's class loads.

    Raises:
        ConfigError: wrong arguments.
        CheckpointError: no usable model folder, or a network that MONAI does not have.
    """
    parser = CommandParser(prog="swin-unetr export-weights", description="Write a model's weights for MONAI.")
    parser.add_argument("model", type=Path, help="model folder")
    parser.add_argument("--output", type=Path, required=True, help="file: .safetensors, or .pt (under 'state_dict')")
    parser.add_argument("--monai_1_4", action="store_true", help="write for MONAI up to 1.4; default: 1.5 or later")
    arguments = parser.parse_args(list(argv))
    if arguments.output.suffix not in (".safetensors", ".pt"):
        raise ConfigError(f"--output {arguments.output}: should end in .safetensors or .pt")

    import torch
    from safetensors.torch import save_file

    from swin_unetr.checkpoints.model_folder import load_model
    from swin_unetr.checkpoints.monai_weights import export_monai_weights
    from swin_unetr.files import replacing

    network = load_model(arguments.model).network
    tensors = export_monai_weights(network, monai_1_4=arguments.monai_1_4)
    with replacing(arguments.output) as temporary:
        if arguments.output.suffix == ".pt":
            torch.save({"state_dict": tensors}, temporary)
        else:
            save_file(tensors, temporary)
    config = network.config
    downsample = "mergingv2" if config.merging == "mergingv2" else "merging"
    print(
        f"{arguments.output}: load into MONAI's SwinUNETR(in_channels={config.in_channels}, "
        f"out_channels={config.num_classes}, feature_size={config.feature_size}, downsample={downsample!r}, ...)"
    )
    return 0


def _import_parser() -> CommandParser:
    parser = CommandParser(
        prog="swin-unetr import-weights",
        description="Make a model folder from a published Swin UNETR: from its encoder alone, to fine-tune, or with "
        "--task and --recipe from the whole network, to segment. Prints what was done with every tensor.",
    )
    parser.add_argument("file", type=Path, help="published weights: .pt, .pth, .ckpt or .safetensors")
    parser.add_argument("--output", type=Path, required=True, help="the model folder to write")
    parser.add_argument("--task", help=f"what the classes are: {', '.join(_TASKS)}, or a YAML or JSON file of a task")
    parser.add_argument("--recipe", type=Path, help="YAML file with the fields preprocess and inference")
    parser.add_argument(
        "--merging",
        choices=["legacy", "merging", "mergingv2"],
        help="form of patch merging that the weights were trained with; default: legacy, that of MONAI up to 1.4",
    )
    parser.add_argument(
        "--source",
        choices=sources(),
        help="whose weights they are, for the preprocessing of an encoder's scans, which finetune --init-preprocess "
        "take uses; needed where the names in the file do not show it",
    )
    parser.add_argument(
        "--side",
        choices=get_args(Side),
        help="which network of a file that holds a student and its teacher; default: the teacher",
    )
    parser.add_argument("--channels", type=int, help="number of image channels, if it differs from the encoder's")
    return parser


def _task(argument: str) -> Task:
    if argument in _TASKS:
        return _TASKS[argument]
    return task_from(read_yaml(Path(argument)), source=argument)


def _save_encoder(network: SwinUNETR, report: TransferReport, folder: Path, source: str | None) -> str:
    """Write the encoder, with the preprocessing that belongs to it; says how that is known."""
    from swin_unetr.checkpoints.model_folder import save_model
    from swin_unetr.model_description import ModelDescription

    layout = None if report.layout is None else LAYOUTS[report.layout]
    preprocess, words = preprocess_of(layout, source, path=report.source)
    description = ModelDescription(
        kind="encoder",
        network=network.config,
        preprocess=preprocess or PreprocessConfig(),
        preprocess_known=preprocess is not None,
        provenance=_provenance(report),
    )
    save_model(network.encoder, folder, description=description)
    return words


def _save_whole(network: SwinUNETR, report: TransferReport, folder: Path, task: Task, recipe: Path) -> None:
    from swin_unetr.checkpoints.model_folder import save_model
    from swin_unetr.model_description import ModelDescription

    values = read_yaml(recipe)
    source = str(recipe)
    if report.missing:
        raise ConfigError(f"{report.source}: has no decoder (misses {len(report.missing)} tensors); leave out --task")
    if network.config.num_classes != task.num_classes:
        raise ConfigError(
            f"--task {task.name}: has {task.num_classes} classes, the weights {network.config.num_classes}; "
            "give the task they were trained for"
        )
    description = ModelDescription(
        kind="segmentation",
        network=network.config,
        task=task,
        preprocess=from_dict(PreprocessConfig, values.get("preprocess", {}), source=source),
        inference=from_dict(InferenceConfig, values.get("inference", {}), source=source),
        provenance=_provenance(report),
    )
    save_model(network, folder, description=description)


def _provenance(report: TransferReport) -> dict[str, Any]:
    return {"imported": report.to_dict()}
