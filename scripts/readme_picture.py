"""Draws the README's picture: axial slices of scans that `make demo` has segmented, with reference and prediction.

make demo && python scripts/readme_picture.py --demo demo-output --output docs/images/phantoms.png
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from transforms.io import read_image, read_labels

#: One colour for each structure of the phantoms.
_COLOURS = ("#d1495b", "#edae49", "#30a2da", "#66a182", "#8d6bb8")
_NAMES = ("liver", "spleen", "right kidney", "left kidney", "aorta")
#: Hounsfield units from black to white.
_WINDOW = (-175, 275)


def main() -> None:
    """Draw the first two cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=Path("demo-output"))
    parser.add_argument("--output", type=Path, default=Path("docs/images/phantoms.png"))
    arguments = parser.parse_args()
    scans = sorted((arguments.demo / "phantoms" / "imagesTs").glob("*.nii.gz"))[:2]
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    for axes, scan in zip(figure.subplots(1, len(scans)), scans, strict=True):
        _draw(axes, scan, arguments.demo)
    handles = [
        figure.axes[0].scatter([], [], color=colour, label=name) for colour, name in zip(_COLOURS, _NAMES, strict=True)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.output, dpi=110)


def _draw(axes: Any, scan: Path, demo: Path) -> None:
    image = _axial(read_image([scan]))
    reference = _axial(read_labels(demo / "phantoms" / "labelsTs" / scan.name))
    prediction = _axial(read_labels(demo / "predictions" / scan.name))
    planes = np.moveaxis(reference, -1, 0)
    plane = max(range(len(planes)), key=lambda z: (len(np.unique(planes[z])), int((planes[z] > 0).sum())))
    axes.imshow(image[..., plane].T, cmap="gray", origin="lower", vmin=_WINDOW[0], vmax=_WINDOW[1])
    shown = np.ma.masked_equal(prediction[..., plane].T, 0)
    colours = ListedColormap(_COLOURS)
    axes.imshow(shown, cmap=colours, origin="lower", vmin=1, vmax=len(_NAMES), alpha=0.5, interpolation="nearest")
    for value, colour in enumerate(_COLOURS, 1):
        inside = np.equal(reference[..., plane].T, value)
        if inside.any():
            axes.contour(inside, levels=[0.5], colors=[colour], linewidths=1.5)
    axes.set_title(scan.name.removesuffix(".nii.gz"), fontsize=10)
    axes.set_axis_off()


def _axial(volume: Any) -> NDArray[Any]:
    """X x Y x Z turned to a radiologist's view of axial slices: the patient's right at the left, front at the top."""
    array: NDArray[Any] = volume.array[0]
    sideways, upwards, _ = volume.geometry.orientation  # the phantoms' axes are nearly those of the patient
    turned: NDArray[Any] = array[:: -1 if sideways == "R" else 1, :: -1 if upwards == "P" else 1]
    return turned


if __name__ == "__main__":
    main()
