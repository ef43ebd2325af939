"""What the doctor may find: the table of defects, each with its severity and its remedy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

#: "error": training would fail, or learn something wrong. "warning": worth a look.
Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Kind:
    """A kind of defect."""

    severity: Severity
    title: str
    remedy: str


def _error(title: str, remedy: str) -> Kind:
    return Kind("error", title, remedy)


def _warning(title: str, remedy: str) -> Kind:
    return Kind("warning", title, remedy)


#: Code of a defect to what it is and what to do about it.
KINDS: dict[str, Kind] = {
    # The folder
    "layout": _error("the data set's list is damaged", "correct the list, or the files that it names"),
    "duplicate-id": _error("two files of one case", "rename or remove one of them"),
    "missing": _error("file is missing", "put the file there, or take its case out of the list"),
    "channel-missing": _error("a channel is missing", "add the file, or leave the case out"),
    "channels-wrong": _error("wrong number of channels", "give every case the channels that the task lists, in order"),
    "label-missing": _error("no label", "add the label file, or move the scan out"),
    "unused-file": _warning("image belongs to no case", "rename it as the layout wants, or remove it"),
    "unused-folder": _warning("folder of images that belong to no case", "name the folder itself, or its --layout"),
    "few-cases": _warning("too few labelled cases", "five folds need five cases or more; label more scans"),
    # Files
    "unreadable": _error("cannot be read", "copy or convert the file again from its source"),
    "impossible-size": _error("header claims more voxels than the file can hold", "copy or convert the file again"),
    "picture": _error("is a picture, not a scan", "a 3-D scan with one number for each voxel is needed; move it out"),
    "stand-in": _error("a pointer, not the file itself", "fetch the files with 'git lfs pull' or 'git annex get'"),
    "misnamed": _warning("name and content differ", "other programs may refuse it; give the file the right ending"),
    "layered": _error("segments overlap", "in 3D Slicer, export the segmentation to a label map"),
    "broken-link": _error("link that leads nowhere", "correct the link, or remove it"),
    "wrong-dimensions": _error("wrong number of dimensions", "split 4-D files: one 3-D file per time or channel"),
    "dicom-series": _error(
        "DICOM files are not one scan", "see the message; restore missing files, or keep one series in the folder"
    ),
    "segmentation": _error("a segmentation, not a scan", "give the slices that it was drawn on"),
    "contours": _error("contours, not a scan", "give the slices that they were drawn on"),
    "other-object": _error("DICOM without an image", "give the folder with the slices of a scan"),
    "passed-by": _warning("DICOM without an image among the slices", "it is not used; move it out if it disturbs"),
    "not-dicom": _warning("file among the slices is not DICOM", "copy it again if it should be a slice"),
    "slice-thickness": _warning("a single slice", "its voxel size along the third axis is only its stated thickness"),
    "duplicate": _error("same voxels twice", "keep one; else training and validation share a scan"),
    "duplicate-label": _error("same label for two scans", "find which scan it belongs to, and the other's label"),
    # Geometry
    "geometry-differs": _error(
        "label is not on the grid of its image", "resample the label onto the image, or export both anew"
    ),
    "channels-differ": _error("channels lie on different grids", "resample the channels onto the first"),
    "sheared": _warning(
        "axes are not at right angles", "a tilted gantry; resample if the labels were drawn on another grid"
    ),
    "forms-disagree": _warning(
        "qform and sform disagree", "programs differ in which they use; set both to the true one"
    ),
    "no-orientation": _warning(
        "header gives no orientation", "left and right are a guess; convert again from the source"
    ),
    "no-grid": _error("header gives no usable grid", "write the true voxel size, unit and position into the header"),
    "sform-unusable": _warning(
        "sform is not usable", "write the true grid into the sform: programs differ in what they read"
    ),
    "qform-rounded": _warning("qform is rounded badly", "some programs refuse the file; write the qform anew"),
    "spacing-missing": _warning("header gives no voxel size", "write the true voxel size into the header"),
    "units": _warning("voxel size is not in mm", "write the voxel size in mm, and units mm, into the header"),
    "spacing-impossible": _error(
        "voxel size is 0, negative or not a number", "write the true voxel size into the header"
    ),
    "spacing-extreme": _warning("extreme voxel size", "check the voxel size and its unit against the source"),
    "spacing-outlier": _warning("voxel size unlike the others'", "check the voxel size against the source"),
    "size-outlier": _warning("extent unlike the others'", "check that it shows the same part of the body"),
    "one-slice": _error("scan of a single slice", "a 3-D scan is needed; leave it out, or stack its slices"),
    # Intensities
    "not-finite": _error("NaN or infinite voxels", "replace them by the value of air"),
    "constant": _error("every voxel is the same", "export the scan again, or leave it out"),
    "not-hounsfield": _error("CT is not in Hounsfield units", "export again with rescale slope and intercept applied"),
    "padding": _warning("values below air", "padding outside the field of view; set it to -1024 if it disturbs"),
    "label-as-image": _error("image is a label map", "put the scan there; image and label may be exchanged"),
    "channels-same": _error("two channels hold the same voxels", "export the missing channel"),
    "channels-swapped": _error("channels seem to be exchanged", "compare with other cases, and rename the files"),
    "intensity-outlier": _warning(
        "intensities unlike the others'", "check modality, contrast and scaling against the source"
    ),
    # Labels
    "label-not-map": _error(
        "label file is not a label map", "put the label map there; image and label may be exchanged"
    ),
    "label-not-integer": _error(
        "labels that are not whole numbers", "resample labels by nearest neighbour, and save integers"
    ),
    "label-not-finite": _error("NaN or infinite labels", "replace them by 0"),
    "label-negative": _error("negative labels", "labels start at 0; renumber them"),
    "label-unknown": _error("label value that the task does not know", "renumber it, or name it in the task"),
    "label-empty": _warning("empty label", "right if nothing is there to see; else label it"),
    "label-full": _error("label without background", "0 is background; renumber, or label again"),
    "label-outside-body": _warning("label in the air", "label and image may belong to different scans, or be shifted"),
    "label-volume": _warning(
        "structure's volume unlike the others'", "check the label for mistakes, and the unit of the voxel size"
    ),
    "label-flipped": _error(
        "label is likely mirrored", "compare with the image in `swin-unetr view`; mirror the label back"
    ),
    "sides-swapped": _error(
        "structures lie on the opposite side to that in other cases",
        "image and label are likely mirrored; check the orientation",
    ),
    "label-not-looked-for": _warning(
        "label holds what was not looked for",
        "its voxels count as not looked for; add the structure to the table if it is complete",
    ),
    "labelled-wrong": _error(
        "the table of what was looked for is wrong", "correct the table: it names cases and structures as the data do"
    ),
    "class-absent": _warning(
        "structure that no case has", "check the numbering of the labels, or take it out of the task"
    ),
    # The machine
    "memory": _error("not enough memory", "fewer workers, smaller crops, or a larger machine"),
    "gpu-memory": _error("not enough GPU memory", "smaller crops or batch, gradient checkpointing, or a larger GPU"),
    "disk": _error("not enough room on the disk", "free some, or give another folder"),
    "step-failed": _error("a training step fails", "see the message"),
}


@dataclass(frozen=True)
class Finding:
    """A defect of one file, of a case, or of the whole (no file)."""

    code: str
    words: str
    file: Path | None = None
    case: str | None = None

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return KINDS[self.code].severity

    @property
    def title(self) -> str:
        """What it is, in a few words."""
        return KINDS[self.code].title

    @property
    def remedy(self) -> str:
        """What to do."""
        return KINDS[self.code].remedy
