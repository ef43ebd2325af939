"""What pre-training is worth on your own labels: fine-tunes from scratch and from encoders on shares of the labels.

    python scripts/studies/label_efficiency.py --data DIR --config RECIPE --fold 0 --output DIR --plan
    swin-unetr pretrain ... --data DIR/imagesTr --exclude OUTPUT/held_back.txt
    python scripts/studies/label_efficiency.py --data DIR --config RECIPE --fold 0 --output DIR --encoder [NAME=]DIR ...
        [--fractions 0.1 0.25 0.5 1.0] [--seeds 3] [--steps N] [--shard 0/2] [--trainer.precision bf16-mixed ...]

Every start is trained on the same cases for the same number of steps with the same recipe. For each seed the training
cases are shuffled, and a share takes the first of them, so that a smaller share lies within a larger one. The model
after the last step, not the best one on the held-back cases, segments these, and `evaluate` gives its Dice. Finished
runs are kept in OUTPUT and not repeated; further encoders, shares and seeds may be added. With --shard I/N this process
does each N-th run, and N processes share the work. Writes label_efficiency.json, .csv, .md and .png.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from label_efficiency_report import SCRATCH, gains, level, write
from label_efficiency_runs import Dice, Experiment, Run, check_encoders, do, read_result, write_plan

from finetune.config import FinetuneConfig
from finetune.recipes import find_recipe
from finetune.scans import store_of
from finetune.split import STORE, deal, read_split
from swin_unetr.checkpoints.model_folder import DESCRIPTION
from swin_unetr.config_io import CommandParser, add_config_arguments, from_dict, read_yaml
from swin_unetr.datasets import read_dataset
from swin_unetr.datasets.folds import left_out
from swin_unetr.errors import ConfigError, SwinUnetrError
from swin_unetr.evaluation.statistics import mean_defined
from swin_unetr.provenance import commit, versions
from swin_unetr.training.run_record import machine
from transforms.infer_task import settle_task

#: Fields of the recipe that the experiment sets.
_DERIVED = (
    "network.in_channels",
    "network.num_classes",
    "inference.mirror_axes",
    "inference.mirror_pairs",
    "trainer.max_epochs",
    "trainer.validate_every",
    "trainer.early_stop_patience",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Plan, do the runs that are left, report."""
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    except SwinUnetrError as error:
        print(f"label_efficiency: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("label_efficiency: stopped; the same command goes on", file=sys.stderr)
        return 130


def _run(argv: list[str]) -> int:
    values, own = _arguments(argv)
    experiment = _experiment(from_dict(FinetuneConfig, values, source="arguments"), own)
    write_plan(experiment)
    if own["plan"]:
        file = experiment.output / "held_back.txt"
        print(f"{len(experiment.held_back)} cases held back; pre-train without them: --exclude {file}")
        return 0
    print(*check_encoders(experiment), sep="\n", flush=True)
    runs = [
        Run(arm=arm, fraction=fraction, seed=seed)
        for seed in range(own["seeds"])
        for fraction in sorted(set(own["fractions"]))
        for arm in (SCRATCH, *experiment.encoders)
    ]
    index, shards = own["shard"]
    for number, run in enumerate(runs):
        if number % shards == index and not experiment.result_file(run).is_file():
            started = time.monotonic()
            dice = do(experiment, run)
            mean = mean_defined(mean_defined(of.values()) for of in dice.values())
            seconds = time.monotonic() - started
            print(f"[{number + 1}/{len(runs)}] {run.name}: Dice {mean:.4f}, {seconds:.0f} s", flush=True)
    print(_report(experiment, runs))
    return 0


def _report(experiment: Experiment, runs: Sequence[Run]) -> str:
    """Tables, JSON and plot of the runs that are done, those of other processes too."""
    done = [run for run in runs if experiment.result_file(run).is_file()]
    scores: dict[tuple[str, float, int], Dice] = {
        (run.arm, run.fraction, run.seed): read_result(experiment.result_file(run)) for run in done
    }
    first = {(run.fraction, run.arm): run for run in runs if run.seed == 0}
    patients = {case.id: case.group for case in experiment.cases if case.group is not None}
    levels = [
        found
        for (fraction, arm), run in sorted(first.items())
        for found in (
            level(
                scores,
                arm,
                fraction,
                cases=len(experiment.labelled(fraction, run.seed)),
                steps=experiment.steps_of(run),
                patients=patients,
            ),
        )
        if found is not None
    ]
    fractions = sorted({run.fraction for run in runs})
    facts = {
        "data": str(experiment.data),
        "fold": experiment.fold,
        "held_back": len(experiment.held_back),
        "encoders": {name: str(folder) for name, folder in experiment.encoders.items()},
        "runs": len(runs),
        "done": len(done),
        "machine": machine(),
        "versions": versions(),
        "commit": commit(),
    }
    found = [gain for arm in experiment.encoders for gain in gains(scores, arm, fractions, patients)]
    return write(experiment.output, scores, levels, found, facts)


def _arguments(argv: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Values of the configuration, and the script's own options."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config")
    name = first.parse_known_args(argv)[0].config
    recipe = {} if name is None else read_yaml(find_recipe(name))
    from_dict(FinetuneConfig, recipe, source=str(name))  # errors in the file name the file
    parser = CommandParser(
        prog="label_efficiency.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, help="recipe of finetune: a YAML file, or the name of a shipped one")
    parser.add_argument("--data", type=Path, required=True, help="labelled data set")
    parser.add_argument("--output", type=Path, default=Path("runs/label_efficiency"), help="folder of everything")
    parser.add_argument("--encoder", nargs="+", default=[], metavar="[NAME=]DIR", help="pre-trained encoders")
    parser.add_argument("--fractions", type=float, nargs="+", default=[0.1, 0.25, 0.5, 1.0], help="shares of labels")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each kind, seeds 0, 1, ...")
    parser.add_argument(
        "--steps", type=int, help="steps of each training; by default those of the recipe with all labels"
    )
    parser.add_argument("--folds", type=Path, help="split to use, a folds.json; by default a seeded random split")
    parser.add_argument("--fold", type=int, default=0, help="fold that is held back")
    parser.add_argument("--shard", default="0/1", metavar="I/N", help="do each N-th run, from the I-th (from 0) on")
    parser.add_argument("--plan", action="store_true", help="only write which cases are held back")
    add_config_arguments(parser, FinetuneConfig, recipe, hidden=_DERIVED)
    values = parser.parse_args(argv).as_dict()
    names = ("config", "data", "output", "encoder", "fractions", "seeds", "steps", "folds", "fold", "shard", "plan")
    own = {name: values.pop(name) for name in names}
    if not own["encoder"] and not own["plan"]:
        raise ConfigError("--encoder: give at least one pre-trained encoder, or --plan")
    if not all(0 < fraction <= 1 for fraction in own["fractions"]):
        raise ConfigError(f"--fractions: must lie above 0 and up to 1, got {own['fractions']}")
    for name in ("seeds", "steps"):
        if own[name] is not None and own[name] < 1:
            raise ConfigError(f"--{name}: must be positive, got {own[name]}")
    own["shard"] = _shard(own["shard"])
    return values, own


def _shard(text: str) -> tuple[int, int]:
    index, _, shards = text.partition("/")
    if index.isdecimal() and shards.isdecimal() and int(index) < int(shards):
        return int(index), int(shards)
    raise ConfigError(f"--shard {text}: should be I/N with I from 0 to N - 1, such as 0/2")


def _experiment(config: FinetuneConfig, own: dict[str, Any]) -> Experiment:
    dataset = read_dataset(own["data"], layout=config.layout, require_labels=True)
    task = settle_task(dataset, modality="CT" if config.preprocess.intensity.is_hounsfield else "MR")
    config = replace(
        config, network=replace(config.network, in_channels=len(task.channels), num_classes=task.num_classes)
    )
    folds = (
        deal(dataset, task, config, store_of(config, own["output"] / STORE))
        if own["folds"] is None
        else read_split(own["folds"], dataset)
    )
    if words := left_out(folds, [case.id for case in dataset.cases]):
        print(words, flush=True)
    experiment = Experiment(
        config=config,
        data=own["data"],
        output=own["output"],
        cases=dataset.cases,
        folds=folds,
        fold=own["fold"],
        steps=own["steps"] or 1,
        encoders=dict(_encoders(own["encoder"])),
    )
    if own["steps"] is None:
        everything = Run(arm=SCRATCH, fraction=1.0, seed=0)
        experiment = replace(experiment, steps=config.trainer.max_epochs * experiment.steps_per_epoch(everything))
    return experiment


def _encoders(given: list[str]) -> Iterator[tuple[str, Path]]:
    """Name and model folder of every encoder; a run folder stands for its best/."""
    seen = {SCRATCH}
    for text in given:
        name, _, path = text.rpartition("=")
        folder = Path(path)
        name = name or (folder.parent.name if folder.name in ("best", "last") else folder.name)
        if name in seen or not name or set(name) & set("_/ "):
            raise ConfigError(f"--encoder {text}: needs its own name, without _, / and blanks: NAME={path}")
        seen.add(name)
        yield name, folder if (folder / DESCRIPTION).is_file() else folder / "best"


if __name__ == "__main__":
    raise SystemExit(main())
