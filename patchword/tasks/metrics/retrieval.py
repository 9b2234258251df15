"""Metrics of finding: where the right ones stand among all, when these are ranked by a score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

AT = (1, 5, 10)
_QUERIES = 256  # whose scores exist at one time


def ranks_of(scores: Tensor, right: Tensor) -> Tensor:
    """Place of the best right candidate of each query among the wrong ones, the first is 1; int [Q].

    Candidates that score the same as it stand before it, as do those whose score is not a number.

    Args:
        scores: [Q, C].
        right: bool [Q, C], at least one a row.
    """
    best = scores.masked_fill(~right, float("-inf")).amax(1, keepdim=True)
    return 1 + (~(scores < best) & ~right).sum(1)


def ranks(queries: Tensor, candidates: Tensor, of_queries: Tensor, of_candidates: Tensor) -> np.ndarray:
    """`ranks_of` dot products, a part of the queries at a time; int [Q].

    Args:
        queries: [Q, D].
        candidates: [C, D].
        of_queries: int [Q], what each is of; candidates of the same are right.
        of_candidates: int [C].
    """
    found = [np.zeros(0, dtype=np.int64)]
    for rows in _parts(len(queries)):
        right = of_queries[rows, None] == of_candidates
        found.append(ranks_of(queries[rows] @ candidates.T, right).numpy())
    return np.concatenate(found)


def likest(queries: Tensor, candidates: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """For each query the candidate with the largest dot product, int [Q], and that, float [Q]; one at least."""
    found = [(queries[rows] @ candidates.T).max(1) for rows in _parts(len(queries))]
    if not found:
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    return torch.cat([f.indices for f in found]).numpy(), torch.cat([f.values for f in found]).numpy()


def _parts(count: int) -> list[slice]:
    return [slice(start, start + _QUERIES) for start in range(0, count, _QUERIES)]


def recalls(found: np.ndarray, at: Sequence[int] = AT) -> dict[str, float]:
    """`recall_K`: share of queries with a right one among the first K; `median_rank`, `mean_rank` (1 is best).

    No queries: recalls of 0 and infinite ranks.
    """
    named = {f"recall_{k}": float((found <= k).mean()) if len(found) else 0.0 for k in at}
    ranked = found if len(found) else np.array([np.inf])
    return named | {"median_rank": float(np.median(ranked)), "mean_rank": float(ranked.mean())}


def both_ways(images: Tensor, texts: Tensor, of_images: Tensor, of_texts: Tensor) -> dict[str, float]:
    """Recalls and ranks of texts found by pictures (`i2t_...`) and of pictures found by texts (`t2i_...`).

    `recall_mean` is the mean of the six recalls.

    Args:
        images: [N, D].
        texts: [M, D].
        of_images: int [N], what each is of.
        of_texts: int [M].
    """
    ways = {
        "i2t": recalls(ranks(images, texts, of_images, of_texts)),
        "t2i": recalls(ranks(texts, images, of_texts, of_images)),
    }
    found = {f"{way}_{name}": value for way, each in ways.items() for name, value in each.items()}
    shares = [value for name, value in found.items() if "_recall_" in name]
    return {"recall_mean": sum(shares) / len(shares), **found}
