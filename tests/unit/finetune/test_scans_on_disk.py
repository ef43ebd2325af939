"""Scans in a store: made once, whatever happens; and the crops are those of the scans in memory."""

import multiprocessing
import os
import pickletools
import shutil
import signal
import time
from contextlib import redirect_stdout
from dataclasses import replace
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch

import finetune.scans
from finetune.batches import Batches
from finetune.config import FinetuneConfig
from finetune.data import FinetuneData, TrainingCrops, WholeScans
from finetune.scans import ScansInMemory, ScansOnDisk, open_scans
from swin_unetr.config import AugmentConfig, IntensityConfig, NetworkConfig, PreprocessConfig, SamplingConfig
from swin_unetr.datasets import read_dataset
from swin_unetr.datasets.case import Dataset
from swin_unetr.errors import ConfigError, DataError, SwinUnetrError
from swin_unetr.phantoms import make_phantoms
from swin_unetr.store import size
from transforms.class_places import class_places
from transforms.crops import ScanInMemory

CONFIG = FinetuneConfig(
    network=NetworkConfig(depths=(1, 1), num_heads=(1, 2)),
    preprocess=PreprocessConfig(spacing_mm=(3.0, 3.0, 4.0), intensity=IntensityConfig(scheme="hu_window")),
    sampling=SamplingConfig(crop_size=(16, 16, 8), crops_per_scan=2),
    augment=AugmentConfig(rotate90_probability=0.5, intensity_shift_probability=1.0, affine_probability=0.5),
    inference=replace(FinetuneConfig().inference, roi_size=(32, 32, 24)),
)
BATCHES = Batches(CONFIG.augment, at_once=True)


@pytest.fixture(scope="module")
def dataset(phantom_data: Path) -> Dataset:
    return read_dataset(phantom_data, require_labels=True)


@pytest.fixture(scope="module")
def filled(dataset: Dataset, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("filled") / "store"
    assert on_disk(dataset, folder).prepare() == []
    return folder


def on_disk(dataset: Dataset, folder: Path, preprocess: PreprocessConfig = CONFIG.preprocess) -> ScansOnDisk:
    return ScansOnDisk(dataset.cases, dataset.task, preprocess, folder)


def files(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("[!.]*.scan")}


@pytest.fixture
def own(dataset: Dataset, filled: Path, tmp_path: Path) -> tuple[Dataset, Path]:
    """The scans and a full store, to be changed."""
    shutil.copytree(dataset.root, tmp_path / "data", copy_function=shutil.copy2)
    shutil.copytree(filled, tmp_path / "store")
    return read_dataset(tmp_path / "data", require_labels=True), tmp_path / "store"


def test_scans_and_counts_are_those_in_memory(dataset: Dataset, filled: Path) -> None:
    scans, memory = on_disk(dataset, filled), ScansInMemory(dataset.cases, dataset.task, CONFIG.preprocess)
    assert scans.prepare() == memory.prepare() == []
    for index in range(len(memory)):
        torch.testing.assert_close(scans[index]["image"], memory[index]["image"], atol=1e-5, rtol=0)
        assert torch.equal(scans[index]["label"], memory[index]["label"])
        assert scans.class_voxels(index) == memory.class_voxels(index)
        assert sum(scans.class_voxels(index)) == memory[index]["label"].numel()


@pytest.mark.parametrize("scheme", ["random", "positive_negative", "classes"])
def test_the_same_seed_takes_the_same_crops_from_disk_and_from_memory(dataset, tmp_path, monkeypatch, scheme) -> None:
    monkeypatch.setattr(finetune.scans, "class_places", partial(class_places, most=1_000_000))  # all: as in memory
    config = replace(CONFIG, sampling=replace(CONFIG.sampling, scheme=scheme))
    preprocess = replace(CONFIG.preprocess, spacing_mm=None)
    scans = on_disk(dataset, tmp_path, preprocess)
    memory = ScansInMemory(dataset.cases, dataset.task, preprocess)
    scans.prepare()
    from_disk, again, from_memory = (TrainingCrops(each, dataset.task, config) for each in (scans, scans, memory))
    for visit in ((0, 0, 0), (3, 0, 1), (7, 0, 5)):
        one, same, other = (BATCHES([crops[visit]]) for crops in (from_disk, again, from_memory))
        assert torch.equal(one["image"], same["image"])
        assert torch.equal(one["label"], other["label"])
        torch.testing.assert_close(one["image"], other["image"], atol=1e-4, rtol=0)


def test_a_full_store_is_taken_as_it_is_and_no_scan_is_read(dataset, filled, monkeypatch, capsys) -> None:
    before = files(filled)
    assert len(before) == 6
    monkeypatch.setattr("transforms.preprocess.read_image", None)
    monkeypatch.setattr("finetune.scans.files_hash", None)
    assert on_disk(dataset, filled).prepare() == []
    assert files(filled) == before
    assert capsys.readouterr().out == ""


def test_another_way_and_other_labels_have_scans_of_their_own(own) -> None:
    dataset, folder = own
    other = replace(CONFIG.preprocess, spacing_mm=(4.0, 4.0, 4.0))
    on_disk(dataset, folder, other).prepare()
    first = replace(dataset.task.targets[0], name="renamed")
    for targets, number in (((first, *dataset.task.targets[1:]), 12), (dataset.task.targets[1:], 12)):
        known = replace(dataset, task=replace(dataset.task, targets=targets))
        problems = on_disk(known, folder).prepare()
        assert len(files(folder)) == number
        assert len(problems) == (0 if len(targets) == 5 else 6)  # labels that the task does not know


def test_a_changed_source_is_made_anew_and_a_touched_or_moved_one_is_not(own, monkeypatch, capsys) -> None:
    dataset, folder = own
    before = files(folder)
    os.utime(dataset.cases[0].images[0])
    shutil.copy2(dataset.cases[1].label, dataset.cases[1].label.with_suffix(".copy"))
    assert on_disk(dataset, folder).prepare() == []
    assert files(folder) == before
    capsys.readouterr()
    shutil.copy2(dataset.cases[3].label, dataset.cases[2].label)
    shutil.copy2(dataset.cases[3].images[0], dataset.cases[2].images[0])
    scans = on_disk(dataset, folder)
    assert scans.prepare() == []
    assert torch.equal(scans[2]["image"], scans[3]["image"])
    assert files(folder) == before  # that content was there
    whole = dataset.cases[4].images[0].read_bytes()
    dataset.cases[4].images[0].write_bytes(whole[:-100])
    (problem,) = on_disk(dataset, folder).prepare()
    assert dataset.cases[4].images[0].name in str(problem)


def test_a_torn_file_is_made_anew_and_a_damaged_block_names_the_case(own, capsys) -> None:
    dataset, folder = own
    scans = on_disk(dataset, folder)
    scans.prepare()
    torn, damaged = scans.scan(1).file, scans.scan(2).file
    torn.write_bytes(torn.read_bytes()[:-50])
    raw = bytearray(damaged.read_bytes())
    raw[50] ^= 1
    damaged.write_bytes(raw)
    again = on_disk(dataset, folder)
    assert again.prepare() == []
    assert "store: 1 of 6 scans to preprocess, at most" in capsys.readouterr().out
    assert again[1]["image"].any()
    with pytest.raises(DataError, match=rf"^{dataset.cases[2].id}: .*{damaged.name} is damaged .*delete that file"):
        again[2]
    outcome = WholeScans(again)[2]
    assert isinstance(outcome, SwinUnetrError)
    assert BATCHES([[], outcome]) is outcome
    data = FinetuneData(training=dataset.cases, validation=[], task=dataset.task, config=CONFIG, store=folder)
    with pytest.raises(DataError, match=damaged.name):
        data.on_before_batch_transfer(outcome, 0)
    damaged.unlink()
    assert on_disk(dataset, folder).prepare() == []


def test_a_disk_that_is_too_small_is_told_before_and_a_full_one_after(own, monkeypatch) -> None:
    dataset, folder = own
    shutil.rmtree(folder)
    monkeypatch.setattr(size.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 99, 1))
    with pytest.raises(ConfigError, match=r"take up to .* and 1 bytes are free; choose another --store"):
        on_disk(dataset, folder).prepare()
    assert not files(folder)
    monkeypatch.undo()
    fsync = os.fsync

    def full(descriptor: int) -> None:
        if Path(os.readlink(f"/proc/self/fd/{descriptor}")).suffix == ".scan":
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match=r"\(No space left on device\); make room on the disk, .* choose .* --store"):
        on_disk(dataset, folder).prepare()
    assert not list(folder.rglob("*.scan"))  # nor anything half-written


def test_where_scans_are_kept(dataset: Dataset, tmp_path: Path) -> None:
    def kind(store: str, folder: Path | None) -> str:
        config = replace(CONFIG, store=store)
        return type(open_scans(dataset.cases, dataset.task, config, folder)).__name__

    assert kind("auto", tmp_path) == kind(str(tmp_path), None) == kind(str(tmp_path), tmp_path) == "ScansOnDisk"
    assert kind("auto", None) == kind("memory", tmp_path) == kind("memory", None) == "ScansInMemory"


def test_a_rare_class_is_sampled_without_a_look_at_the_scan(dataset, filled, monkeypatch) -> None:
    scans = on_disk(dataset, filled)
    scans.prepare()
    read = []
    monkeypatch.setattr(ScanInMemory, "places", None)  # which looks at all voxels
    crop = type(scans.scan(0)).crop
    monkeypatch.setattr(type(scans.scan(0)), "crop", lambda self, *at: read.append(tuple(at[1])) or crop(self, *at))
    sampling = SamplingConfig(crop_size=(8, 8, 8), scheme="classes", negative=0, crops_per_scan=100)
    crops = TrainingCrops(scans, dataset.task, replace(CONFIG, sampling=sampling, augment=AugmentConfig()))
    shown = {int(value) for crop in crops[(0, 0, 0)] for value in np.unique(crop["label"])}
    assert {tuple(size) for size in read} == {(8, 8, 8)}
    assert shown >= {which for which, voxels in enumerate(scans.class_voxels(0)) if which and voxels}


def test_nothing_on_disk_is_a_pickle(filled: Path) -> None:
    for file in filter(Path.is_file, filled.rglob("*")):
        with pytest.raises(ValueError, match=r".*"):
            list(pickletools.genops(file.read_bytes()))


def test_crops_do_not_depend_on_the_process(dataset: Dataset, filled: Path) -> None:
    scans = on_disk(dataset, filled)
    scans.prepare()
    crops = TrainingCrops(scans, dataset.task, CONFIG)
    loader = torch.utils.data.DataLoader(
        crops, sampler=[(1, 0, 0), (1, 1, 4), (2, 0, 3)], batch_size=1, collate_fn=BATCHES, num_workers=2
    )
    for batch, visit in zip(loader, [(1, 0, 0), (1, 1, 4), (2, 0, 3)], strict=True):
        assert torch.equal(batch["image"], BATCHES([crops[visit]])["image"])


def fill(data: Path, folder: Path, said: Path) -> BaseProcess:
    """A process of its own that fills a store, one scan at a time."""

    def work() -> None:
        torch.set_num_threads(1)  # a forked process has none of the others
        finetune.scans.workers_for = lambda voxels: 1
        with said.open("w") as file, redirect_stdout(file):
            print("problems", on_disk(read_dataset(data, require_labels=True), folder).prepare())

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_killed_filling_is_gone_on_with_and_two_at_once_share_the_work(tmp_path: Path) -> None:
    data = make_phantoms(tmp_path / "data", cases=24, held_back=0, size=(32, 32, 24))
    folder = tmp_path / "store"
    process = fill(data, folder, tmp_path / "killed")
    limit = time.monotonic() + 300
    while len(files(folder)) < 3 and time.monotonic() < limit:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    before = files(folder)
    assert 3 <= len(before) < 24
    both = [fill(data, folder, tmp_path / name) for name in ("one", "other")]
    for each in both:
        each.join()
    assert [each.exitcode for each in both] == [0, 0]
    said = (tmp_path / "one").read_text() + (tmp_path / "other").read_text()
    assert said.count("problems []") == 2
    assert said.count("scans to preprocess") == 1  # the second found all done
    after = files(folder)
    assert len(after) == 24
    assert all(after[name] == before[name] for name in before)
    assert not list(folder.rglob(".partial-*"))


def resident() -> int:
    """KB of memory that this process holds."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS:")))


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads the process's memory from /proc")
def test_memory_stays_flat(dataset: Dataset, filled: Path) -> None:
    scans = on_disk(dataset, filled)
    scans.prepare()
    crops = TrainingCrops(scans, dataset.task, CONFIG)

    def grown(epochs: range) -> int:
        before = resident()
        for epoch in epochs:
            for index in range(len(scans)):
                crops[(epoch, 0, index)]
        return resident() - before

    grown(range(3))
    assert grown(range(3, 15)) < 4000
