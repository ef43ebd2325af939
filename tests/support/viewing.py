"""A scan, its reference and a wrong prediction, and the viewer's server on them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from swin_unetr.viewer.cases import cases_of_report
from swin_unetr.viewer.server import ViewerServer
from transforms.io import read_labels, write_labels

Paths = tuple[Path, Path, Path]


@contextmanager
def served(server: ViewerServer) -> Iterator[ViewerServer]:
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def shifted_prediction(phantom_data: Path, folder: Path) -> Paths:
    """Scan, reference, and a prediction that is the reference two voxels away."""
    scan, reference = (phantom_data / of / "phantom_000.nii.gz" for of in ("imagesTr", "labelsTr"))
    labels = read_labels(reference)
    write_labels(folder / "prediction.nii.gz", np.roll(labels.array[0], 2, axis=0), labels.geometry)
    return scan, reference, folder / "prediction.nii.gz"


def server_of_report(paths: Paths, folder: Path) -> ViewerServer:
    """A report of two cases, the second of which has lost its scan."""
    scan, reference, prediction = map(str, paths)
    files = {
        "one": {"image": scan, "reference": reference, "prediction": prediction},
        "two": {"image": str(folder / "gone.nii.gz"), "reference": reference, "prediction": prediction},
    }
    (folder / "results.json").write_text(json.dumps({"files": files}))
    (folder / "report.html").write_text(
        "<!doctype html><link rel=icon href='data:,'><title>r</title><a href='view.html?case=one'>one</a>"
    )
    return ViewerServer(cases_of_report(folder), report=folder / "report.html")
