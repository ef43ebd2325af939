"""Pictures of phantoms of which every side is known."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from swin_unetr.evaluation.report.pictures import COLOURS, INVENTED, MISSED, case_pictures
from swin_unetr.tasks import Task, brats, exclusive
from transforms.geometry import Geometry, Volume

TASK = Task(name="two", modality="MR", channels=("T1",), targets=exclusive(("one", "two")))
SHAPE = (20, 24, 28)  # towards R, A, S


def volume(array, orientation=("R", "A", "S"), spacing=(1.0, 1.0, 1.0)):
    """An array in RAS order, stored along other axes."""
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    axes, steps = [], []
    for stored, letter in enumerate(orientation):
        axis = next(i for i, pair in enumerate(("RL", "AP", "SI")) if letter in pair)
        forward = letter in "RAS"
        affine[axis, stored] = spacing[axis] if forward else -spacing[axis]
        axes.append(axis)
        steps.append(slice(None, None, 1 if forward else -1))
    stored_array = array.transpose(axes)[tuple(steps)]
    return Volume(stored_array[None], Geometry(stored_array.shape, affine))


def pixels(uri):
    kind, data = uri.split(",")
    assert kind in ("data:image/png;base64", "data:image/webp;base64")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA")).astype(int)


def has_colour(picture, colour):
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return (np.abs(picture[..., :3] - rgb).max(axis=-1) < 3) & (picture[..., 3] > 0)


def centre(mask):
    """Centre of a mask from the left and from the top, 0..1."""
    rows, columns = np.nonzero(mask)
    return columns.mean() / mask.shape[1], rows.mean() / mask.shape[0]


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PIR", "ALI"])
def test_the_patients_right_is_on_the_left_and_the_sides_are_named(orientation):
    reference = np.zeros(SHAPE, np.uint8)
    reference[8:12, 8:12, 8:12] = 1
    prediction = reference.copy()
    prediction[16:19, 19:22, 21:25] = 1  # invented: right, front, top
    scan = np.zeros(SHAPE, np.float32)
    scan[14:, 16:, 18:] = 100
    planes = case_pictures(
        *(volume(array, orientation) for array in (prediction, reference, scan)),
        prediction_task=TASK,
        reference_task=TASK,
    )
    assert [(plane.name, plane.sides) for plane in planes] == [
        ("axial", ("R", "L", "A", "P")),
        ("coronal", ("R", "L", "S", "I")),
        ("sagittal", ("A", "P", "S", "I")),
    ]
    for plane in planes:
        invented = pixels(plane.difference)
        assert invented.shape[:2] == (plane.height, plane.width)
        left, top = centre(has_colour(invented, INVENTED))
        assert left < 0.4, plane.name
        assert top < 0.4, plane.name
        assert not has_colour(invented, MISSED).any()
        bright_left, bright_top = centre(pixels(plane.scan)[..., 0] > 128)
        assert bright_left < 0.4
        assert bright_top < 0.4


def test_the_planes_go_through_the_largest_error_in_the_scale_of_the_patient():
    reference = np.zeros((40, 40, 10), np.uint8)
    reference[5:35, 5:35, 2:8] = 1
    prediction = reference.copy()
    prediction[5:7, 5:7, 2] = 0  # a small one
    prediction[20:30, 20:30, 5:7] = 2  # the largest: taken for another structure
    axial, coronal, _ = case_pictures(
        volume(prediction, spacing=(1, 1, 5)), volume(reference, spacing=(1, 1, 5)), None,
        prediction_task=TASK, reference_task=TASK,
    )  # fmt: skip
    assert axial.scan is None
    assert has_colour(pixels(axial.prediction), COLOURS[1]).any()
    assert not has_colour(pixels(axial.difference), MISSED).any()
    assert (axial.width, axial.height) == (256, 256)
    assert (coronal.width, coronal.height) == (205, 256)  # 40 x 50 mm


def test_no_error_and_nothing_at_all_are_drawn_too():
    empty = np.zeros(SHAPE, np.uint8)
    full = empty.copy()
    full[3:6, 3:6, 20] = 2
    for array in (empty, full):
        planes = case_pictures(volume(array), volume(array), None, prediction_task=TASK, reference_task=TASK)
        for plane in planes:
            assert not has_colour(pixels(plane.difference), MISSED).any()
            assert has_colour(pixels(plane.reference), COLOURS[1]).any() == bool(array.any())


def test_structures_beyond_255_are_drawn():
    task = Task(name="many", modality="MR", channels=("T1",), targets=exclusive(tuple(map(str, range(1, 301)))))
    array = np.zeros(SHAPE, np.uint16)
    array[3:9, 3:9, 18:24] = 300
    for plane in case_pictures(volume(array), volume(array), None, prediction_task=task, reference_task=task):
        assert plane.structures == (299,)
        assert has_colour(pixels(plane.reference), COLOURS[299 % len(COLOURS)]).any()
    empty = np.zeros(SHAPE, np.uint16)
    for plane in case_pictures(volume(empty), volume(array), None, prediction_task=task, reference_task=task):
        assert has_colour(pixels(plane.difference), MISSED).any()


def test_nested_regions_are_outlined_each():
    task = brats("brats2021")
    by_name = {target.name: place for place, target in enumerate(task.targets)}
    (core_value,) = set(task.targets[by_name["TC"]].labels) - set(task.targets[by_name["ET"]].labels)
    (oedema,) = set(task.targets[by_name["WT"]].labels) - set(task.targets[by_name["TC"]].labels)
    (enhancing,) = task.targets[by_name["ET"]].labels
    labels = np.zeros((60, 60, 20), np.uint8)
    labels[10:50, 10:50, 4:16] = oedema
    labels[20:40, 20:40, 6:14] = enhancing  # fills the edge of the core: both have the same outline
    labels[25:35, 25:35, 8:12] = core_value
    prediction = labels.copy()
    prediction[30, 30, 10] = 0  # where the planes go through
    axial = case_pictures(volume(prediction), volume(labels), None, prediction_task=task, reference_task=task)[0]
    assert axial.structures == (0, 1, 2)
    picture = pixels(axial.reference)
    row = picture[picture.shape[0] // 2]
    full = row[:, 3] == 255

    def columns(region):
        return np.flatnonzero(has_colour(picture, COLOURS[by_name[region]])[picture.shape[0] // 2] & full)

    assert columns("WT")[0] < columns("TC")[0] < columns("ET")[0] < columns("ET")[-1] < columns("TC")[-1]
    assert columns("TC")[0] == columns("ET")[0] - 1  # the outer line lies around the inner one
