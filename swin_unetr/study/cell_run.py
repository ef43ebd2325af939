"""One cell: choose the learning rate, train, segment the test cases, evaluate, keep the result."""

from __future__ import annotations

import json
import math
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from finetune.config import FinetuneConfig
from swin_unetr.config_io import to_dict
from swin_unetr.datasets import DESCRIPTION
from swin_unetr.datasets.folds import Folds
from swin_unetr.errors import DataError, SwinUnetrError
from swin_unetr.files import write_json, write_text
from swin_unetr.machine import cores
from swin_unetr.study.cells import Cell
from swin_unetr.study.config import BudgetConfig, StudyConfig
from swin_unetr.study.curves import curve_of, curve_of_peer
from swin_unetr.study.data import StudyData, training_list
from swin_unetr.study.peer import arguments_of
from swin_unetr.study.plans import Plans
from swin_unetr.study.process import Processes
from swin_unetr.study.recipes import config_of, recipe_of
from swin_unetr.study.results import LOG, METRICS, Result, Table, folder_of, write_result
from swin_unetr.study.settings import prediction_of
from swin_unetr.study.splits import labelled, of_curve, of_search
from swin_unetr.study.unlabelled import paths_of

#: What this program's own commands begin with.
PROGRAM = (sys.executable, "-m", "swin_unetr")


class CommandError(SwinUnetrError):
    """A command of a cell that failed; its log says more."""


@dataclass(frozen=True)
class CellRun:
    """What a cell needs to be done.

    Attributes:
        study: the study.
        cell: the cell.
        data: its data set.
        output: folder of the study.
        plans: gives the plan of a fold.
        processes: runs the commands.
    """

    study: StudyConfig
    cell: Cell
    data: StudyData
    output: Path
    plans: Plans
    processes: Processes

    @property
    def folder(self) -> Path:
        """The cell's own folder."""
        return folder_of(self.output, self.cell)

    @property
    def training(self) -> tuple[str, ...]:
        """Ids of the cases that it is trained on."""
        training = self.data.folds[self.cell.fold].training
        return labelled(training, self.cell.labels, self.cell.seed, self.data.patients)

    @property
    def test(self) -> tuple[str, ...]:
        """Ids of the test cases."""
        return self.data.folds[self.cell.fold].test

    def do(self) -> Result:
        """Do the cell, or what is left of it.

        Raises:
            SwinUnetrError: something of it failed.
            KeyboardInterrupt: stopped; the same command goes on.
        """
        foreign = self.study.arms[self.cell.arm].command is not None
        result = self._of_peer() if foreign else self._of_own()
        write_result(self.folder, result)
        shutil.rmtree(self.folder / "train" / "checkpoints", ignore_errors=True)
        return result

    def _of_own(self) -> Result:
        recipe = recipe_of(self.cell.arm, self.study.arms[self.cell.arm], self._plan())
        tried = self._search(recipe)
        rate = max(tried, key=lambda each: tried[each]) if tried else None
        split = (of_curve(self.test, self.study.curve_cases), self.training)
        run = self._train(recipe, self.study.budget, split, self.folder / "train", self.study.curve_points, rate)
        record = json.loads((run / "run.json").read_text(encoding="utf-8"))
        if tuple(record["training"]) != self.training:
            raise DataError(f"{run}: was not trained on the cases of the study; remove {self.folder}, and go on")
        config = record["config"]
        self._predict(run / "last", on_cpu=config["trainer"]["accelerator"] == "cpu")
        curve = curve_of(run)
        return Result(
            training=self.training,
            test=self.test,
            values=self._evaluate(self.folder / "predictions"),
            steps=curve[-1][0],
            seconds=record["seconds"],
            rate=rate,
            tried={f"{each:g}": dice for each, dice in tried.items()},
            curve=tuple(point for point in curve if not math.isnan(point[2])),
        )

    def _plan(self) -> Path | None:
        return self.plans.plan_for(self.study.arms[self.cell.arm], self.data, self.cell.fold)

    def _search(self, recipe: FinetuneConfig) -> dict[float, float]:
        """The Dice of each learning rate on a part of the labelled cases, after a training on the others."""
        rates = self.study.rates
        if not rates.values:
            return {}
        parts = of_search(self.training, self.data.patients)
        if parts is None:
            raise DataError(
                f"{self.cell}: has the labels of a single patient, so that no learning rate can be chosen; raise the "
                "share of the labels, or leave out rates"
            )
        inner, validation = parts
        found = {}
        for rate in rates.values:
            run = self.folder / "rates" / f"{rate:g}"
            self._train(recipe, self.study.budget.part(rates.share), (validation, inner), run, 1, rate)
            dice = curve_of(run)[-1][2]
            found[rate] = -math.inf if math.isnan(dice) else dice
            shutil.rmtree(run / "checkpoints", ignore_errors=True)
        if max(found.values()) == -math.inf:
            raise DataError(f"{self.cell}: no learning rate gave a Dice on {', '.join(validation)}; leave out rates")
        return found

    def _train(
        self,
        recipe: FinetuneConfig,
        budget: BudgetConfig,
        split: tuple[Sequence[str], Sequence[str]],
        run: Path,
        points: int,
        rate: float | None,
    ) -> Path:
        """Fine-tune, or go on with it; a run that is finished is kept. Gives the run folder.

        Args:
            recipe: of the arm, with its changes.
            budget: of this training.
            split: ids of the cases to validate on and of those to train on.
            run: the run folder.
            points: about so many validations.
            rate: the learning rate. If None, that of the recipe.
        """
        if is_finished(run):
            return run
        validation, training = split
        config = config_of(
            recipe,
            budget,
            points=points,
            seed=self.cell.seed,
            store=self.output / "store",
            rate=rate,
            unlabelled=paths_of(
                self.study.arms[self.cell.arm],
                self.data,
                validation,
                run.parent / f"{run.name}.unlabelled",
                self.output / "store",
            ),
        )
        of_run = run.parent / f"{run.name}.yaml"
        write_text(of_run, yaml.safe_dump(to_dict(config), sort_keys=False, default_flow_style=None, width=120))
        of_split = run.parent / f"{run.name}.folds.json"
        Folds(seed=self.cell.seed, folds=(tuple(validation), tuple(training))).save(of_split)
        arguments = ["finetune", "--config", of_run, "--data", self.data.folder, "--folds", of_split, "--fold", "0"]
        init = self.study.arms[self.cell.arm].init
        arguments += [] if init is None else ["--init", init]
        self._run([*PROGRAM, *map(str, arguments), "--output", str(run), "--resume", "auto"])
        return run

    def _predict(self, model: Path, *, on_cpu: bool) -> None:
        split = self.folder / "test.folds.json"
        Folds(seed=0, folds=(self.test,)).save(split)
        prediction = prediction_of(self.study, self.study.arms[self.cell.arm])
        options = [] if prediction.tta is None else ["--tta" if prediction.tta else "--no-tta"]
        options += [] if prediction.overlap is None else ["--overlap", f"{prediction.overlap:g}"]
        options += [] if prediction.weights is None else ["--weights", prediction.weights]
        options += ["--device", "cpu"] if on_cpu else []
        arguments = ["predict", model, self.data.folder, "--folds", split, "--fold", "0", *options]
        # An array task would else take a part of the cases.
        output = ["--output", str(self.folder / "predictions"), "--part", "1/1"]
        self._run([*PROGRAM, *map(str, arguments), *output])

    def _of_peer(self) -> Result:
        own = self.folder / "peer"
        own.mkdir(parents=True, exist_ok=True)
        listed = self.folder / "training.json"
        write_json(listed, training_list(self.data.of(self.training), self.data.task))
        budget = self.study.budget
        values = {
            "data": self.data.folder,
            "training_list": listed,
            "test_images": self.data.test_images(self.cell.fold),
            "task": self.data.folder / DESCRIPTION,
            "output": own,
            "minutes": "" if budget.minutes is None else f"{budget.minutes:g}",
            "steps": budget.steps,
            "seed": self.cell.seed,
            "cores": cores(),
            "python": sys.executable,
        }
        texts = {name: str(of.absolute()) if isinstance(of, Path) else str(of) for name, of in values.items()}
        started = time.monotonic()
        self._run(arguments_of(self.study.arms[self.cell.arm].command or "", texts), foreign=True)
        seconds = time.monotonic() - started
        curve = curve_of_peer(own)
        return Result(
            training=self.training,
            test=self.test,
            values=self._evaluate(own / "predictions"),
            steps=curve[-1][0] if curve else None,
            seconds=curve[-1][1] if curve else seconds,
            curve=tuple(point for point in curve if not math.isnan(point[2])),
            foreign=True,
        )

    def _run(self, arguments: Sequence[str], *, foreign: bool = False) -> None:
        try:
            code = self.processes.run(arguments, self.folder / LOG, foreign=foreign)
        except OSError as error:
            raise CommandError(f"{arguments[0]}: cannot be started ({error.strerror}); check the command") from error
        if code:
            raise CommandError(why(code, tail_of(self.folder / LOG)))

    def _evaluate(self, predictions: Path) -> dict[str, Table]:
        """Values of the test cases by metric; the report lies beside, for `compare`."""
        from swin_unetr.evaluation.run import evaluate

        if not predictions.is_dir():
            raise DataError(f"{predictions}: the command has left no predictions there; it should write CASE.nii.gz")
        result = evaluate(
            predictions,
            self.data.folder,
            task=self.data.task,
            output=self.folder / "report",
            cases=self.test,
            metrics=METRICS,
            tolerance_mm=self.study.tolerance_mm,
            pictures=0,
        )
        if result.failures:
            first = result.failures[0]
            raise DataError(f"{len(result.failures)} of {len(self.test)} test cases cannot be evaluated: {first}")
        values: dict[str, dict[str, dict[str, float]]] = {}
        for row in result.rows:
            values.setdefault(row.metric, {}).setdefault(row.case, {})[row.structure] = row.value
        return {metric: values[metric] for metric in METRICS}


def is_finished(run: Path) -> bool:
    """Whether a training has ended by itself."""
    try:
        record = json.loads((run / "run.json").read_text(encoding="utf-8"))
        return bool(record["sessions"][-1]["status"] == "finished")
    except (OSError, ValueError, KeyError, IndexError):
        return False


def tail_of(log: Path, lines: int = 15) -> tuple[str, ...]:
    """The last lines of a log that are not empty, of its last command alone."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    written = [line for line in text.splitlines() if line.strip()]
    begins = max((number for number, line in enumerate(written) if line.startswith("$ ")), default=0)
    return tuple(written[begins:][-lines:])


def why(code: int, tail: Sequence[str]) -> str:
    """Why a command failed, in one line: the last one that it wrote.

    Args:
        code: its exit code.
        tail: last lines of its log.
    """
    said = [line for line in tail if not line.startswith(("$ ", "to go on: "))]
    last = said[-1].strip() if said else "it wrote nothing"
    if code in (-9, 137):
        return f"the process was killed (was there too little memory?); its last line: {last}"
    return f"exit code {code}: {last}"
