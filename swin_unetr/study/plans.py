"""Plans for the arms that have their recipe planned: one for each data set and fold, made once."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from finetune.planning import PLAN
from swin_unetr.errors import DataError
from swin_unetr.study.config import ArmConfig, BudgetConfig
from swin_unetr.study.data import StudyData
from swin_unetr.study.process import Processes
from swin_unetr.study.recipes import is_planned, plan_arguments


@dataclass(frozen=True)
class Plans:
    """Makes plans when they are first needed.

    Attributes:
        output: folder of the study; plans are kept in its `plans`.
        budget: of the study.
        processes: runs the command.
        program: what the command begins with.
        locks: whether the disk has locks, so that other processes wait for a plan that is being made.
    """

    output: Path
    budget: BudgetConfig
    processes: Processes
    program: tuple[str, ...]
    locks: bool

    def plan_for(self, arm: ArmConfig, data: StudyData, fold: int) -> Path | None:
        """The plan of a fold, made from its training cases alone; None if the arm has a recipe.

        Raises:
            DataError: no plan can be made.
            KeyboardInterrupt: stopped.
        """
        if not is_planned(arm):
            return None
        folder = self.output / "plans" / f"{data.name},fold{fold}"
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock") if self.locks else nullcontext():
            if not (folder / PLAN).is_file():
                arguments = ["plan", str(data.training_folder(fold)), "--output", str(folder)]
                log = folder / "log.txt"
                code = self.processes.run([*self.program, *arguments, *plan_arguments(self.budget)], log)
                if code:
                    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
                    raise DataError(f"no plan can be made for {data.name}: {lines[-1] if lines else code}")
        return folder / PLAN
