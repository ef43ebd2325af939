"""The command `swin-unetr view`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from swin_unetr.config_io import CommandParser
from swin_unetr.errors import ConfigError, DataError, SwinUnetrError
from swin_unetr.provenance import command


def main(argv: Sequence[str]) -> int:
    """Parse the arguments and serve until Ctrl-C; gives the exit code."""
    arguments = _parser().parse_args(list(argv))
    if bool(arguments.image) == bool(arguments.report):
        raise ConfigError(f"image: give scans, or --report FOLDER; see: {command(['view', '--help'])}")
    if arguments.report and (arguments.label or arguments.prediction):
        raise ConfigError("report: a report knows its labels and predictions; leave --label and --prediction out")

    from swin_unetr.viewer.cases import case_of_files, cases_of_report
    from swin_unetr.viewer.scene import open_scene
    from swin_unetr.viewer.server import ViewerServer, has_niivue

    if not has_niivue():
        raise SwinUnetrError(
            "the viewer is not in this installation; run 'make viewer' in the source folder (it needs npm), "
            "or install the wheel"
        )
    report = None
    if arguments.report:
        cases = cases_of_report(arguments.report)
        report = arguments.report / "report.html"
        if not report.is_file():
            raise DataError(f"{report}: no such file; give the --output folder of an evaluation")
    else:
        case = case_of_files(
            arguments.image,
            arguments.label or [],
            arguments.prediction or [],
            task=arguments.task,
            names=arguments.names,
        )
        open_scene(case)  # errors are printed here rather than in the browser
        cases = {case.name: case}
    with ViewerServer(cases, report=report, port=arguments.port) as server:
        print(f"{server.url}\nOnly this machine can open it. Ctrl-C ends it.", flush=True)
        if not arguments.no_browser:
            import webbrowser

            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="swin-unetr view",
        description="Look at a scan with its labels, predictions and their errors in a browser, or at the cases of an "
        "evaluation. The page is served on 127.0.0.1 until Ctrl-C; nothing leaves this machine.",
    )
    parser.add_argument(
        "image",
        type=Path,
        nargs="*",
        default=[],
        help="scan: NIfTI, NRRD, MHA or a folder of DICOM; several on one grid",
    )
    parser.add_argument("--label", type=Path, nargs="+", metavar="L", help="reference label maps")
    parser.add_argument(
        "--prediction", type=Path, nargs="+", metavar="P", help="label maps to compare with the first reference"
    )
    parser.add_argument("--task", help="what the labels mean, as for evaluate; a model folder also gives its CT window")
    parser.add_argument("--names", nargs="+", metavar="NAME=VALUE", help="labels by name instead, such as liver=1")
    parser.add_argument("--report", type=Path, metavar="FOLDER", help="the report of an evaluation, with its cases")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--no-browser", action="store_true", help="print the address and open nothing")
    return parser
