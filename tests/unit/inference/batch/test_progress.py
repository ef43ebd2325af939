import io

from rich.console import Console

from swin_unetr.inference.batch import progress as progress_module
from swin_unetr.inference.batch.progress import PredictionProgress


def show(*, terminal: bool, shown: bool = True) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=100)
    with PredictionProgress(2, shown=shown, console=console) as progress:
        for case, outcome in (("case [1]", "1.5 s"), ("case_2", "scan.nii.gz: no such file")):
            progress.start(case, "all at once", 1)
            progress.windows(case, 3, 4)
            progress.windows(case, 4, 4)
            progress.end(case, outcome)
    return file.getvalue()


def test_one_line_for_each_case_where_there_is_no_terminal() -> None:
    assert show(terminal=False).splitlines() == [
        "plan: all at once",
        "1/2 case [1]: 1.5 s  0:00:00 left",
        "2/2 case_2: scan.nii.gz: no such file",
    ]


def test_bars_of_windows_and_cases_on_a_terminal() -> None:
    text = show(terminal=True)
    assert "1/2 case [1]: 1.5 s" in text
    assert "all cases" in text
    assert "━" in text


def test_silence() -> None:
    assert show(terminal=True, shown=False) == ""


def test_where_there_is_no_terminal_a_long_case_says_how_far_it_is(monkeypatch) -> None:
    monkeypatch.setattr(progress_module, "_QUIET_SECONDS", 0)
    file = io.StringIO()
    with PredictionProgress(2, console=Console(file=file, width=100)) as progress:
        progress.windows("case_1", 3, 4)
    assert file.getvalue().splitlines() == ["case_1: window 3/4  0:00:00 left"]


def test_a_case_being_written_and_the_next_one_count_together() -> None:
    with PredictionProgress(4, shown=False) as progress:
        progress.windows("case_1", 4, 4)
        progress.windows("case_2", 1, 2)
        assert progress._cases_done == 1.5
        progress.end("case_1", "1 s")
        assert progress._cases_done == 1.5
