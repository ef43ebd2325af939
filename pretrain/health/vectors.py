"""Classes of feature vectors without a training loop: ridge regression in closed form, and nearest neighbours."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

#: Ridge penalty on standardised vectors, over the variance of one channel. Fixed: scores of a probe that is tuned
#: again each time could not be compared.
RIDGE = 0.1
#: Neighbours that vote, and how fast the weight of a vote falls with the angle (Wu et al., 1805.01978, section 3.4,
#: with the 20 neighbours of Caron et al., 2104.14294).
NEIGHBOURS, TEMPERATURE = 20, 0.07
#: How many queries are compared with all vectors at a time.
_BLOCK = 1024


def classify(vectors: Tensor, classes: Tensor, queries: Tensor, method: Literal["linear", "knn"]) -> Tensor:
    """Classes of the queries, learnt from vectors with known classes.

    Args:
        vectors: N x C.
        classes: N, integers.
        queries: M x C.
        method: "linear" or "knn".

    Returns:
        M classes, each one of those in `classes`.
    """
    mean, deviation = vectors.mean(0), vectors.std(0, correction=0)
    deviation = torch.where(deviation > 1e-6 * (1 + mean.abs()), deviation, torch.inf)  # constant channels say nothing
    known = torch.tensor(distinct(classes), device=classes.device)
    place = torch.searchsorted(known, classes)
    votes = F.one_hot(place, len(known)).to(vectors.dtype)
    score = _ridge if method == "linear" else _neighbours
    scores = score((vectors - mean) / deviation, votes, (queries - mean) / deviation)
    return torch.index_select(known, 0, scores.argmax(1))


def distinct(values: Tensor) -> list[int]:
    """The integers that occur, none of them negative, in their order."""
    found: list[int] = torch.bincount(values.flatten()).nonzero().flatten().tolist()
    return found


def _ridge(vectors: Tensor, votes: Tensor, queries: Tensor) -> Tensor:
    """Least squares onto the classes; each class has the same weight, for any number of vectors; M x K."""
    weights = (votes / votes.sum(0)).sum(1, keepdim=True) / votes.shape[1]  # sum to 1
    mean, target = (weights * vectors).sum(0), (weights * votes).sum(0)
    centred = (vectors - mean).double()
    products = centred.T @ (weights * centred)
    products.diagonal().add_(RIDGE)
    solution = torch.linalg.solve(products, centred.T @ (weights * (votes - target)).double())
    scores: Tensor = (queries - mean) @ solution.to(queries.dtype) + target
    return scores


def _neighbours(vectors: Tensor, votes: Tensor, queries: Tensor) -> Tensor:
    """Votes of the nearest by angle; the votes of every class have the same sum, for few vectors or many; M x K."""
    directions = F.normalize(vectors, dim=1)
    votes = votes / votes.sum(0)
    found = []
    for block in torch.split(F.normalize(queries, dim=1), _BLOCK):
        similarity, nearest = (block @ directions.T).topk(min(NEIGHBOURS, len(vectors)), dim=1)
        found.append((((similarity - 1) / TEMPERATURE).exp()[..., None] * votes[nearest]).sum(1))
    return torch.cat(found)


def balanced_accuracy(found: Tensor, truth: Tensor) -> tuple[float, dict[int, float]]:
    """Share of right classes, mean over the classes of the truth, and the share in each of them."""
    recalls = {value: float((found[truth == value] == value).float().mean()) for value in distinct(truth)}
    return sum(recalls.values()) / len(recalls), recalls
