"""Work on many cases: one that fails does not stop the others, and every failure is reported."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Failure:
    """A case that could not be done, and why, in one line."""

    case: str
    message: str

    def __str__(self) -> str:
        """Both in one line; a message that begins with the case says it once."""
        return self.message if self.message.startswith(f"{self.case}:") else f"{self.case}: {self.message}"


@dataclass
class BatchReport:
    """The outcome of a batch of cases."""

    done: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    #: What is odd about the files of cases that were done all the same, by the case.
    warnings: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0 when every case was done, 1 otherwise."""
        return 1 if self.failures else 0

    def summary(self) -> str:
        """The closing lines of a command: how many were done, and every failure by name."""
        lines = [f"{len(self.done)} done, {len(self.failures)} failed"]
        lines += [f"  {failure}" for failure in self.failures]
        return "\n".join(lines)
