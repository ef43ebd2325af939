"""Times random crops from the store against MONAI's CacheDataset and PersistentDataset, and measures their memory.

    python scripts/bench/store.py [--output DIR] [--scan FILE] [--size 512 512 300] [--crop 96 96 96] [--cases 3]
        [--samples 24] [--workers 2] [--augment] [--folder DIR]

The scans are a real CT, tiled up to the size and written as NIfTI, each mirrored and shifted differently; their labels
are voxels above 150 HU (1) and a small ball (2). A separate process fills what is kept on disk. Then each dataset is
read by a process with `--workers` workers, a crop at a time. The crops are random, one for each visit, drawn as in
`RandSpatialCropSamplesd`, and with --augment mirrored, turned, zoomed and changed in intensity by the same transforms
for all three. The script checks that the crops agree: with the same seed, the crops of all three are equal, up to the
rounding of the store.

CacheDataset keeps the preprocessed scans in the memory of the process, PersistentDataset keeps them on disk and reads a
whole one for each visit. Both give the scan without a copy: the copy that MONAI's chains make before a random transform
is not counted. Memory is the proportional set size (PSS), summed over the process and its workers: the largest of the
values that were read every 50 ms.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import psutil  # type: ignore[import-untyped]
import torch
from monai.data import CacheDataset, PersistentDataset
from monai.transforms import Transform
from torch.utils.data import DataLoader, Dataset

from finetune.batches import Batches
from finetune.scans import ScansOnDisk
from swin_unetr.config import AugmentConfig, IntensityConfig, PreprocessConfig, SamplingConfig
from swin_unetr.datasets.case import Case
from swin_unetr.files import write_json
from swin_unetr.provenance import written_by
from swin_unetr.tasks import Task, exclusive
from swin_unetr.training.step_hooks import derived_seed
from transforms.crops import RandomCrops, Sample, ScanInMemory
from transforms.io import read_image, write_image
from transforms.preprocess import preprocessing

STORE, CACHE, PERSISTENT = "store", "CacheDataset", "PersistentDataset"
METHODS = (STORE, CACHE, PERSISTENT)
TASK = Task(name="made", modality="CT", channels=("CT",), targets=exclusive(("dense", "ball")))
PREPROCESS = PreprocessConfig(intensity=IntensityConfig(scheme="hu_window", window=(-175, 250)), crop_foreground=False)
AUGMENT = AugmentConfig(
    rotate90_probability=0.5,
    affine_probability=0.2,
    intensity_scale_probability=0.5,
    intensity_shift_probability=0.5,
    gamma_probability=0.2,
)
NO_AUGMENT = AugmentConfig(flip_probability=(0.0, 0.0, 0.0))
SEED = 7
#: How many crops of each method are compared.
_CHECKED = 6


class Preprocess(Transform):  # type: ignore[misc]  # MONAI has no types
    """A case as plain tensors, which PersistentDataset can write and read without pickles of classes."""

    def __init__(self) -> None:
        self._steps = preprocessing(PREPROCESS, TASK, with_label=True)

    def __call__(self, values: dict[str, Any]) -> Sample:
        """Image and label."""
        done = self._steps(values)
        return {key: torch.as_tensor(done[key]).as_subclass(torch.Tensor).contiguous() for key in ("image", "label")}


class Crops(Dataset[Sample]):
    """A crop for each visit, the same for the same visit in every dataset.

    Args:
        method: one of `METHODS`.
        cases: the scans.
        folder: of the method's data on disk.
        arguments: size of the crops, augmentation.
    """

    def __init__(self, method: str, cases: list[Case], folder: Path, arguments: argparse.Namespace) -> None:
        augment = AUGMENT if arguments.augment else NO_AUGMENT
        self._crops = RandomCrops(SamplingConfig(crop_size=tuple(arguments.crop)), augment, TASK)
        self._batch = Batches(augment, at_once=True)
        self._visits: int = arguments.samples
        self._number = len(cases)
        self._scans: Any
        if method == STORE:
            self._scans = ScansOnDisk(cases, TASK, PREPROCESS, folder)
            assert not self._scans.prepare()
            return
        data = [{"case": case} for case in cases]
        if method == CACHE:
            self._scans = CacheDataset(data, Preprocess(), num_workers=1, progress=False)
        else:
            self._scans = PersistentDataset(data, Preprocess(), cache_dir=folder, hash_func=_hash)
            for index in range(len(data)):
                self._scans[index]

    def __len__(self) -> int:
        return self._visits

    def __getitem__(self, visit: int) -> Sample:
        index = visit % self._number
        scan = self._scans.scan(index) if isinstance(self._scans, ScansOnDisk) else ScanInMemory(**self._scans[index])
        crops = self._crops(scan, torch.Generator().manual_seed(derived_seed(SEED, visit)))
        batch = self._batch([crops])
        assert isinstance(batch, dict)
        return {key: batch[key][0] for key in ("image", "label")}


def main() -> None:
    """Make the scans, check that the crops agree, time, print a table, write bench_store.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(os.environ.get("SWIN_UNETR_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")
    parser.add_argument("--output", type=Path, default=Path("runs/bench_store"), help="folder of the JSON")
    parser.add_argument("--folder", type=Path, help="scans and datasets are written here; default: OUTPUT/data")
    parser.add_argument("--scan", type=Path, default=data / "ct" / "dicom_series", help="the CT that is tiled")
    parser.add_argument("--size", type=int, nargs=3, default=(512, 512, 300), metavar=("X", "Y", "Z"))
    parser.add_argument("--crop", type=int, nargs=3, default=(96, 96, 96), metavar=("X", "Y", "Z"))
    parser.add_argument("--cases", type=int, default=3)
    parser.add_argument(
        "--samples", type=int, default=24, help="crops that are timed; for the store, ten times as many"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--augment", action="store_true", help="change the crops, too")
    arguments = parser.parse_args()
    folder = arguments.folder or arguments.output / "data"
    cases = [
        Case(id=f"{index}", images=(folder / f"{index}.nii",), label=folder / f"{index}_label.nii")
        for index in range(arguments.cases)
    ]
    make_scans(cases, arguments.scan, tuple(arguments.size))
    rows = compared(arguments, cases, folder)
    facts = {
        **written_by(),
        "results": rows,
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    write_json(arguments.output / "bench_store.json", facts)
    print(f"written: {arguments.output / 'bench_store.json'}")


def make_scans(cases: list[Case], source: Path, size: tuple[int, int, int]) -> None:
    """Tile a CT up to a size, each case mirrored and shifted differently, and write it with a made label."""
    array = read_image([source]).array[0].round().astype(np.int16)
    balls = np.indices((20, 20, 20)) - 9.5
    for index, case in enumerate(cases):
        assert case.label is not None
        if case.images[0].is_file() and case.label.is_file():
            continue
        turned = np.flip(array, axis=tuple(axis for axis in range(3) if index >> axis & 1))
        tiles = np.concatenate([turned, turned[:, :, ::-1]], axis=2)
        tiles = np.roll(tiles, 37 * index, axis=0)
        repeats = [-(-wanted // there) for wanted, there in zip(size, tiles.shape, strict=True)]
        scan = np.tile(tiles, repeats)[: size[0], : size[1], : size[2]]
        label = (scan > 150).astype(np.uint8)
        corner = [(length - 20) // 2 for length in size]
        middle = tuple(slice(first, first + 20) for first in corner)
        label[middle][np.square(balls).sum(0) < 81] = 2
        case.images[0].parent.mkdir(parents=True, exist_ok=True)
        for path, values in ((case.images[0], scan), (case.label, label)):
            write_image(path, values, np.diag([0.8, 0.8, 1.0, 1.0]))


def compared(arguments: argparse.Namespace, cases: list[Case], folder: Path) -> list[dict[str, Any]]:
    """All methods: whether they agree, how fast they are and how much memory and disk they take."""
    rows: list[dict[str, Any]] = []
    for method in METHODS:
        # CacheDataset is filled again in every process; data on disk is read by a process that did not write it.
        filled = {} if method == CACHE else in_a_process(fill, method, arguments, cases, folder / method)
        rows.append({"method": method, **in_a_process(timed, method, arguments, cases, folder / method), **filled})
        print(f"{method}: {rows[-1]['samples_per_s']:.2f} samples/s", flush=True)
    seen = [row.pop("seen") for row in rows]
    for other in seen[1:]:
        np.testing.assert_allclose(seen[0], other, rtol=1e-4, atol=1e-4)
    print("the crops of all three agree")
    print(f"{'':18}{'samples/s':>10}{'x':>8}{'memory GB':>11}{'on disk GB':>12}{'fill s':>8}")
    slowest = next(row for row in rows if row["method"] == PERSISTENT)["samples_per_s"]
    for row in rows:
        row["against_persistent"] = row["samples_per_s"] / slowest
        print(
            f"{row['method']:18}{row['samples_per_s']:10.2f}{row['against_persistent']:8.1f}"
            f"{row['memory_bytes'] / 1e9:11.2f}{row['disk_bytes'] / 1e9:12.2f}{row['fill_s']:8.0f}"
        )
    return rows


def in_a_process(work: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """The result of some work in its own process, forked before anything was loaded."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        return pool.submit(work, *arguments).result()


def fill(method: str, arguments: argparse.Namespace, cases: list[Case], folder: Path) -> dict[str, Any]:
    """Fill a dataset; returns the time and the disk space."""
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    Crops(method, cases, folder, arguments)
    seconds = time.perf_counter() - started
    disk = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return {"fill_s": seconds, "disk_bytes": disk}


def timed(method: str, arguments: argparse.Namespace, cases: list[Case], folder: Path) -> dict[str, Any]:
    """Summarise the first crops of a dataset, and time the loading of many."""
    arguments.samples *= 10 if method == STORE else 1
    started = time.perf_counter()
    crops = Crops(method, cases, folder, arguments)
    values: dict[str, Any] = {"fill_s": time.perf_counter() - started, "disk_bytes": 0}
    values["seen"] = [_summary(crops[visit]) for visit in range(_CHECKED)]
    with peak_memory() as peak:
        batches = iter(DataLoader(crops, batch_size=1, num_workers=arguments.workers))
        next(batches)  # the start of the workers is not timed
        started = time.perf_counter()
        number = sum(1 for _ in batches)
        seconds = time.perf_counter() - started
    return {**values, "samples_per_s": number / seconds, "samples": number, "memory_bytes": max(peak)}


class peak_memory:  # noqa: N801  # a block of code, as `open` is
    """Memory of this process and of its workers while a block of code runs: a list, of which the largest counts."""

    def __enter__(self) -> list[int]:
        self._seen = [_memory()]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self._seen

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            self._seen.append(_memory())


def _memory() -> int:
    return sum(_share(process) for process in _family())


def _family() -> Iterator[psutil.Process]:
    me = psutil.Process()
    yield me
    yield from me.children(recursive=True)


def _share(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:  # it has ended
        return 0


def _summary(crop: Sample) -> list[float]:
    image = crop["image"].double()
    return [float(image.mean()), float(image.std()), *_some(image.flatten()), float(crop["label"].double().mean())]


def _some(values: torch.Tensor) -> Iterable[float]:
    return (float(value) for value in values[:: max(1, len(values) // 20)])


def _hash(item: Any) -> bytes:
    return str(item["case"].id).encode()


if __name__ == "__main__":
    main()
