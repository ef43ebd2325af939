"""Losses of the tasks, written out."""

from __future__ import annotations

import torch
from torch import Tensor, distributed
from torch.nn import functional as F

from swin_unetr.training.across_processes import processes


def l1_where(output: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
    """Mean absolute difference, over all voxels or over those of a mask.

    Args:
        output: N x C x X x Y x Z.
        target: the same shape.
        mask: N x 1 x X x Y x Z. If None, all voxels count.

    Returns:
        The difference; 0 if the mask is empty.
    """
    difference = (output.float() - target.float()).abs()
    if mask is None:
        return difference.mean()
    return (difference * mask).sum() / (mask.sum() * target.shape[1]).clamp(min=1)


def pair_similarities(
    embeddings: Tensor, scans: Tensor, *, same_scan_negatives: bool, gather: bool
) -> tuple[Tensor, Tensor]:
    """Cosine similarities of the views of this process with all views that they are compared with.

    Args:
        embeddings: 2B x D, the first views of B crops and then their second views.
        scans: 2B, the scan of each; the same numbers on all processes.
        same_scan_negatives: compare with other crops of the same scan.
        gather: compare with the views of all processes.

    Returns:
        2B x M similarities, minus infinity for pairs that are not compared; and for each view the column (2B) of the
        other view of its crop.
    """
    own = F.normalize(embeddings.float(), dim=1)
    everyone, every_scan, first = own, scans, 0
    if gather and processes() > 1:
        everyone, every_scan = gathered(own), gathered(scans)
        first = distributed.get_rank() * len(own)
    rows = torch.arange(len(own), device=own.device)
    partners = first + rows.roll(-(len(own) // 2))
    columns = torch.arange(len(everyone), device=own.device)
    left_out = columns == first + rows[:, None]
    if not same_scan_negatives:
        left_out = left_out | ((scans[:, None] == every_scan) & (columns != partners[:, None]))
    return (own @ everyone.T).masked_fill(left_out, -torch.inf), partners


def nt_xent(similarities: Tensor, partners: Tensor, temperature: float) -> Tensor:
    """Normalised temperature-scaled cross-entropy (2002.05709, equation 1); with several processes, this one's mean.

    The mean over processes equals the loss, and the gradients, of one process with the joined batch.

    Args:
        similarities: N x M, see `pair_similarities`.
        partners: N columns.
        temperature: divides the similarities.
    """
    return F.cross_entropy(similarities / temperature, partners)


def barlow_twins(embeddings: Tensor, redundancy: float, *, gather: bool) -> Tensor:
    """Barlow Twins (2103.03230, equation 1): features of two views agree, and differ from each other.

    Args:
        embeddings: 2B x D, the first views of B crops and then their second views.
        redundancy: weight of the correlations between different features.
        gather: correlate over the views of all processes.
    """
    first, second = embeddings.float().chunk(2)
    if gather and processes() > 1:
        first, second = gathered(first), gathered(second)
    correlation = _standardised(first).T @ _standardised(second) / len(first)
    agreement = correlation.diagonal()
    rest = correlation.square().sum() - agreement.square().sum()
    return (1 - agreement).square().sum() + redundancy * rest


def distilled(scores: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Cross-entropy between a teacher's distribution and the student's (2104.14294, equation 2).

    Args:
        scores: ... x K of the student.
        targets: ... x K, sums to 1 over K.
        temperature: divides the student's scores.

    Returns:
        ..., one number for each.
    """
    return -(targets * F.log_softmax(scores.float() / temperature, dim=-1)).sum(-1)


def queue_similarities(queries: Tensor, keys: Tensor, queue: Tensor, left_out: Tensor) -> Tensor:
    """Cosine similarities of queries with their own key, in column 0, and with a queue of keys.

    Args:
        queries: N x D.
        keys: N x D, one for each query; L2-normalised.
        queue: M x D, L2-normalised.
        left_out: N x M, pairs that are not compared.

    Returns:
        N x (1 + M), minus infinity for pairs that are not compared.
    """
    queries = F.normalize(queries.float(), dim=1)
    own = (queries * keys).sum(1, keepdim=True)
    return torch.cat([own, (queries @ queue.T).masked_fill(left_out, -torch.inf)], dim=1)


def top1(similarities: Tensor, partners: Tensor) -> Tensor:
    """Share of views that are most like the other view of their crop."""
    return (similarities.argmax(dim=1) == partners).float().mean()


def gathered(rows: Tensor) -> Tensor:
    """The rows of all processes, in the order of their ranks; gradients go back to the process of each row."""
    joined: Tensor = _Gather.apply(rows)  # type: ignore[no-untyped-call]
    return joined


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        # Every process's loss depends on these rows.
        gradient = gradient.contiguous()
        distributed.all_reduce(gradient)
        return gradient.chunk(distributed.get_world_size())[distributed.get_rank()]


def _standardised(features: Tensor) -> Tensor:
    # The deviation over N, as the correlation is a mean over N: a feature correlates with itself by exactly 1.
    # Scans without any contrast have no deviation.
    return (features - features.mean(0)) / features.std(0, correction=0).clamp(min=1e-8)
