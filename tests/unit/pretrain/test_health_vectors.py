"""Classes of vectors: ridge regression against scikit-free algebra, neighbours against a loop."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pretrain.health.vectors import NEIGHBOURS, RIDGE, TEMPERATURE, balanced_accuracy, classify


def clouds(per_class: tuple[int, ...], apart: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Gaussian clouds about the corners of a simplex in 8 dimensions; classes 3, 4, 5, ..."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.cat([torch.full((count,), index) for index, count in enumerate(per_class)])
    vectors = torch.randn(len(classes), 8, generator=generator) + apart * F.one_hot(classes, 8)
    return vectors, classes + 3


@pytest.mark.parametrize("method", ["linear", "knn"])
def test_separate_clouds_are_told_apart_and_one_cloud_is_not(method) -> None:
    vectors, classes = clouds((200, 200, 200), apart=6)
    queries, truth = clouds((300, 300, 300), apart=6, seed=1)
    assert balanced_accuracy(classify(vectors, classes, queries, method), truth)[0] > 0.98
    vectors, classes = clouds((200, 200, 200), apart=0)
    queries, truth = clouds((300, 300, 300), apart=0, seed=1)
    assert balanced_accuracy(classify(vectors, classes, queries, method), truth)[0] == pytest.approx(1 / 3, abs=0.07)


@pytest.mark.parametrize("method", ["linear", "knn"])
def test_a_rare_class_is_not_outvoted(method) -> None:
    vectors, classes = clouds((1000, 40), apart=2)
    queries, truth = clouds((500, 500), apart=2, seed=1)
    recalls = balanced_accuracy(classify(vectors, classes, queries, method), truth)[1]
    assert recalls.keys() == {3, 4}
    assert min(recalls.values()) > 0.8


@pytest.mark.parametrize("method", ["linear", "knn"])
def test_the_scale_of_a_channel_does_not_matter_and_a_constant_one_says_nothing(method) -> None:
    vectors, classes = clouds((100, 100), apart=3)
    queries, _ = clouds((50, 50), apart=3, seed=1)
    scale = torch.logspace(-3, 3, 8)
    before = classify(vectors, classes, queries, method)
    vectors, queries = (
        torch.cat([rows * scale + 5, torch.full((len(rows), 1), 7.0)], 1) for rows in (vectors, queries)
    )
    queries[:, -1] += torch.randn(100)
    assert (classify(vectors, classes, queries, method) == before).float().mean() > 0.98


def test_ridge_is_least_squares_on_rows_of_a_penalty() -> None:
    vectors, classes = clouds((30, 30), apart=1)
    queries, _ = clouds((40, 40), apart=1, seed=1)
    # The same as ordinary least squares, with an intercept, after rows of the penalty's root were added.
    mean, deviation = vectors.mean(0).numpy(), vectors.std(0, correction=0).numpy()
    rows = np.float64((vectors.numpy() - mean) / deviation)
    targets = np.float64(F.one_hot(classes - 3).numpy())
    design = np.block([[rows / np.sqrt(60), np.full((60, 1), 60**-0.5)], [np.eye(8) * RIDGE**0.5, np.zeros((8, 1))]])
    wanted = np.concatenate([targets / np.sqrt(60), np.zeros((8, 2))])
    solution = np.linalg.lstsq(design, wanted, rcond=None)[0]
    scores = np.c_[(queries.numpy() - mean) / deviation, np.ones(80)] @ solution
    clear = np.abs(scores[:, 0] - scores[:, 1]) > 1e-4
    found = classify(vectors, classes, queries, "linear").numpy()
    assert (found[clear] == scores.argmax(1)[clear] + 3).all()
    assert clear.sum() > 70


def test_neighbours_vote_by_angle() -> None:
    vectors, classes = clouds((40, 25), apart=1)
    queries, _ = clouds((20, 20), apart=1, seed=1)
    mean, deviation = vectors.mean(0), vectors.std(0, correction=0)
    known, asked = ((rows - mean) / deviation for rows in (vectors, queries))
    wanted = []
    for query in asked:
        angles = F.cosine_similarity(known, query[None])
        votes = {3: 0.0, 4: 0.0}
        for place in angles.argsort(descending=True)[:NEIGHBOURS].tolist():
            share = 1 / int((classes == classes[place]).sum())
            votes[int(classes[place])] += share * float(((angles[place] - 1) / TEMPERATURE).exp())
        wanted.append(max(votes, key=votes.__getitem__))
    assert classify(vectors, classes, queries, "knn").tolist() == wanted


def test_accuracy_counts_every_class_alike() -> None:
    truth, found = torch.tensor([0] * 8 + [2] * 2), torch.tensor([0] * 8 + [0, 2])
    accuracy, recalls = balanced_accuracy(found, truth)
    assert accuracy == 0.75
    assert recalls == {0: 1.0, 2: 0.5}
