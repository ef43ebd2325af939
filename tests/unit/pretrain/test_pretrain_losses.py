"""Losses against MONAI's, against loops that say what is meant, and under two processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from monai.losses import ContrastiveLoss
from torch import Tensor
from torch.nn import functional as F

from pretrain.losses import barlow_twins, l1_where, nt_xent, pair_similarities, top1


def draw(count: int, width: int = 16, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def contrastive(embeddings: Tensor, scans: Tensor, *, same: bool = True, temperature: float = 0.5) -> Tensor:
    return nt_xent(*pair_similarities(embeddings, scans, same_scan_negatives=same, gather=False), temperature)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_nt_xent_is_monais_with_its_gradients(temperature) -> None:
    ours, theirs = draw(10).requires_grad_(), draw(10).requires_grad_()
    one = contrastive(ours, torch.arange(5).repeat(2), temperature=temperature)
    other = ContrastiveLoss(temperature=temperature)(*theirs.chunk(2))
    torch.testing.assert_close(one, other)
    one.backward()
    other.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_crops_of_one_scan_are_no_negatives_unless_asked_for() -> None:
    scans = torch.tensor([4, 4, 7, 9]).repeat(2)
    embeddings = draw(8)
    terms = []
    for row in range(8):
        partner = (row + 4) % 8
        alike = {
            other: F.cosine_similarity(embeddings[row], embeddings[other], dim=0) / 0.5
            for other in range(8)
            if other == partner or scans[other] != scans[row]
        }
        terms.append(-alike[partner] + torch.stack(list(alike.values())).exp().sum().log())
    torch.testing.assert_close(contrastive(embeddings, scans, same=False), torch.stack(terms).mean())
    assert contrastive(embeddings, scans, same=True) > contrastive(embeddings, scans, same=False)
    apart = torch.arange(4).repeat(2)
    torch.testing.assert_close(contrastive(embeddings, apart, same=False), contrastive(embeddings, scans, same=True))


def test_barlow_twins_is_that_of_torchs_correlations_with_its_gradients() -> None:
    ours, theirs = draw(24).requires_grad_(), draw(24).requires_grad_()
    one = barlow_twins(ours, 0.005, gather=False)
    correlation = torch.corrcoef(torch.cat(theirs.chunk(2), dim=1).T)[:16, 16:]
    wanted = torch.where(torch.eye(16) == 1, (1 - correlation) ** 2, 0.005 * correlation**2)
    other = wanted.sum()
    torch.testing.assert_close(one, other, rtol=1e-4, atol=0)
    one.backward()
    other.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("crops", [2, 3, 16])
def test_barlow_twins_has_nothing_to_say_against_identical_views(crops: int) -> None:
    # MONAI's loss divides by N after a deviation by N - 1, and takes them for (N - 1) / N alike.
    view = draw(crops)
    assert float(barlow_twins(torch.cat([view, view]), 0.0, gather=False)) == pytest.approx(0, abs=1e-9)


def test_barlow_twins_takes_features_without_spread() -> None:
    assert barlow_twins(torch.ones(8, 4), 0.005, gather=False).isfinite()


def test_top1_counts_the_views_that_find_the_other() -> None:
    crops = torch.eye(4)
    assert top1(*_pairs(torch.cat([crops, crops]))) == 1
    swapped = crops[[1, 0, 2, 3]]
    assert top1(*_pairs(torch.cat([crops, swapped]))) == 0.5


def _pairs(embeddings: Tensor) -> tuple[Tensor, Tensor]:
    return pair_similarities(embeddings, torch.arange(4).repeat(2), same_scan_negatives=True, gather=False)


def test_l1_over_a_mask_is_the_mean_over_its_voxels() -> None:
    output, target = draw(2 * 3 * 64).view(2, 3, 8, 8, 16), draw(2 * 3 * 64, seed=1).view(2, 3, 8, 8, 16)
    mask = torch.rand(2, 1, 8, 8, 16, generator=torch.Generator().manual_seed(2)) < 0.3
    voxels = (output - target).abs()[mask.expand(-1, 3, -1, -1, -1)]
    torch.testing.assert_close(l1_where(output, target, mask), voxels.mean())
    torch.testing.assert_close(l1_where(output, target, None), F.l1_loss(output, target))
    assert l1_where(output, target, torch.zeros_like(mask)) == 0


TWO = '''
"""Each of two processes has half of the crops; loss and gradients are those of one process with all of them."""
import torch
from torch import distributed, nn
from pretrain.losses import barlow_twins, nt_xent, pair_similarities, top1

distributed.init_process_group("gloo")
rank, world = distributed.get_rank(), distributed.get_world_size()
generator = torch.Generator().manual_seed(0)
views = torch.randn(2, 8, 6, generator=generator, dtype=torch.float64).float()  # views x crops x features
scans = torch.tensor([0, 0, 1, 2, 2, 3, 0, 4])  # scan 0 lies on both processes


def run(kind, crops, gather):
    torch.manual_seed(1)
    head = nn.Linear(6, 5)
    vectors, scan = head(views[:, crops].flatten(0, 1)), scans[crops].repeat(2)
    similarities, partners = pair_similarities(vectors, scan, same_scan_negatives=kind == "same", gather=gather)
    loss = barlow_twins(vectors, 0.005, gather=gather) if kind == "barlow" else nt_xent(similarities, partners, 0.5)
    loss.backward()
    return [loss.detach(), *(part.grad for part in head.parameters())], top1(similarities, partners)


for kind in ("same", "other", "barlow"):
    (*found,), found_top1 = run(kind, slice(4 * rank, 4 * rank + 4), True)
    for part in (*found, found_top1):
        distributed.all_reduce(part)  # what DDP does to gradients, and Lightning to the losses it logs
        part /= world
    wanted, wanted_top1 = run(kind, slice(0, 8), False)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert found_top1 == wanted_top1, (found_top1, wanted_top1)
    alone, _ = run(kind, slice(4 * rank, 4 * rank + 4), False)
    assert abs(alone[0] - wanted[0]) > 1e-3  # without gathering it is another loss
print("the same", flush=True)
distributed.destroy_process_group()
'''


@pytest.mark.slow
def test_two_processes_give_the_loss_and_the_gradients_of_one_with_the_joined_batch(
    tmp_path, project_root: Path
) -> None:
    (tmp_path / "two.py").write_text(TWO)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    result = subprocess.run(
        [*command, str(tmp_path / "two.py")],
        cwd=project_root,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(project_root), "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.count("the same") == 2
