"""The command line: a table of commands, each a function that parses its own arguments.

No command's module imports torch before its arguments are parsed, so every `--help` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from swin_unetr.errors import SwinUnetrError
from swin_unetr.files import is_full, is_refusal
from swin_unetr.provenance import command
from swin_unetr.signals import Terminated, exit_code, ignore_ending, terminable
from swin_unetr.words import why_not_written

#: Command: (where its function is, one line of help).
COMMANDS: dict[str, tuple[str, str]] = {
    "pretrain": ("pretrain.command:main", "train an encoder on scans without labels"),
    "doctor": ("swin_unetr.doctor.command:main", "what is wrong with a data set, before the first epoch"),
    "plan": ("finetune.planning.command:main", "choose how to train on a labelled folder of scans, with reasons"),
    "finetune": ("finetune.command:main", "train on a labelled folder of scans"),
    "calibrate": ("finetune.calibrate_command:main", "learn how sure a trained model's results are"),
    "predict": ("swin_unetr.inference.command:main", "segment scans with one or more trained models"),
    "evaluate": ("swin_unetr.evaluation.command:main", "Dice report of predictions against references"),
    "view": ("swin_unetr.viewer.command:main", "look at a scan, labels, predictions and their errors in a browser"),
    "compare": (
        "swin_unetr.evaluation.comparison.command:main",
        "which of several models is better, with tests and ranks",
    ),
    "study": ("swin_unetr.study.command:main", "which way to train is better, on the same cases and the same budget"),
    "import-weights": ("swin_unetr.checkpoints.command:import_main", "published weights into a model folder"),
    "export-weights": ("swin_unetr.checkpoints.command:export_main", "a model folder into weights for MONAI"),
    "export": ("swin_unetr.inference.export_command:main", "a model for ONNX, OpenVINO or torch.export, checked"),
    "convert": ("swin_unetr.conversion.command:main", "any data set as Decathlon, nnU-Net raw or plain files"),
    "phantoms": ("swin_unetr.phantoms:main", "make a small labelled data set to try everything on"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: arguments without the program's name. If None, those of the process.

    Returns:
        Exit code: 0, 1 for data, 2 for arguments, 130 when stopped by Ctrl-C, 143 by SIGTERM.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(version("swin-unetr"))
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        print(f"swin-unetr: unknown command {name!r}; one of: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    module, function = COMMANDS[name][0].split(":")
    _let_waiting_threads_sleep()
    try:
        with terminable():
            code: int = getattr(import_module(module), function)(rest)
    except SwinUnetrError as error:
        print(f"swin-unetr {name}: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        if not is_full(error) and not is_refusal(error):
            raise
        print(f"swin-unetr {name}: {error.filename or 'a file'}: {why_not_written(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print(f"swin-unetr {name}: stopped{' by SIGTERM' if isinstance(stop, Terminated) else ''}", file=sys.stderr)
        return exit_code(stop)
    return code


def _let_waiting_threads_sleep() -> None:
    """Set it for OpenMP unless the user has; before torch is imported, which reads it.

    OpenMP's threads wait for each other some thousand times a step, by default in a loop that keeps a core busy. If
    other programs use the cores too, the thread that the others wait for gets no core: with two threads on two busy
    cores a step took ten times as long as with one. Results are the same, bit for bit.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


def _usage() -> str:
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:<{width}}{text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: swin-unetr COMMAND [ARGUMENT ...]",
            "",
            "Swin UNETR for medical images: pre-train, fine-tune, segment, evaluate.",
            "",
            *lines,
            "",
            f"'{command(['COMMAND', '--help'])}' explains a command; '{command(['--version'])}' prints the version.",
        ]
    )


def console() -> None:
    """Entry point of the installed `swin-unetr` script; a reader of its output may stop early, as `head` does."""
    try:
        code = main()
        ignore_ending()  # all is done: a signal while the interpreter ends would only change the exit code
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more
        code = 141  # what a shell says of a command that SIGPIPE ended
    raise SystemExit(code)
