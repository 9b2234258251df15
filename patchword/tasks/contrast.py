"""Losses over pairs: what belongs together is to be more alike than what does not.

N rows (pictures), M columns (texts). A pair is right where both are of the same thing; a row may have several right
columns, as a picture has several captions. These are never wrong for one another: each right pair is weighed against
the wrong pairs of its row, and against those of its column, and against nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from patchword.config import (
    ContrastConfig,
    InfoNCEContrastConfig,
    SigmoidContrastConfig,
    TripletContrastConfig,
    implements,
)
from patchword.nn.heads import SimilarityHead
from patchword.tasks.base import LossOutput
from patchword.tasks.gathered import gathered


class Contrast(ABC):
    """A loss of scores."""

    share: ClassVar[float]
    """What the sum over rows and the sum over columns each count."""

    def __init__(self, config: ContrastConfig) -> None:
        self.config = config

    def side(self, scores: Tensor, right: Tensor) -> LossOutput:
        """The sum over right pairs, and their number; [n, M], either may be 0."""
        return LossOutput(self.one_way(scores, right) if scores.numel() else scores.sum(), right.sum())

    @abstractmethod
    def one_way(self, scores: Tensor, right: Tensor) -> Tensor:
        """The sum over right pairs of [n, M] scores, each seen from its row; both sides are not empty.

        Args:
            scores: [n, M].
            right: bool [n, M].
        """


@implements(InfoNCEContrastConfig)
class InfoNCEContrast(Contrast):
    """Each right pair s is the one to be found among itself and the wrong ones w: log(1 + sum exp(w - s)).

    With one text a picture: the mean of the cross-entropies of rows and of columns, as CLIP has it.
    """

    share = 0.5

    def one_way(self, scores: Tensor, right: Tensor) -> Tensor:
        """Cross-entropies; a row without a wrong pair gives 0."""
        wrong = scores.masked_fill(right, float("-inf")).logsumexp(1, keepdim=True)
        return F.softplus(wrong - scores).masked_fill(~right, 0.0).sum()


@implements(SigmoidContrastConfig)
class SigmoidContrast(Contrast):
    """Every pair by itself: -log sigmoid(s) where it is right, -log sigmoid(-s) where it is wrong."""

    share = 0.5

    def one_way(self, scores: Tensor, right: Tensor) -> Tensor:
        """All pairs of the rows."""
        return F.softplus(scores.where(~right, -scores)).sum()


@implements(TripletContrastConfig)
class TripletContrast(Contrast):
    """max(0, margin + w - s) for each right pair s and its most alike wrong one w, or summed over all of these."""

    share = 1.0
    config: TripletContrastConfig

    def one_way(self, scores: Tensor, right: Tensor) -> Tensor:
        """What is lacking of the margin."""
        wrong = scores.masked_fill(right, float("-inf"))
        if self.config.hardest:
            lacking = (self.config.margin + wrong.amax(1, keepdim=True) - scores).clamp_min(0)
        else:
            lacking = _sum_above(wrong, scores - self.config.margin)
        return lacking.masked_fill(~right, 0.0).sum()


def _sum_above(values: Tensor, bounds: Tensor) -> Tensor:
    """For each bound [n, M] the sum of max(0, value - bound) over the values [n, M] of its row; -inf is no value.

    Sorted once: the values above a bound are then the first of their row, and their sum is one of its running sums.
    """
    ranked = values.sort(1, descending=True).values
    sums = F.pad(ranked.masked_fill(ranked.isneginf(), 0.0).cumsum(1), (1, 0))
    rising = ranked.detach().flip(1)
    above = ranked.shape[1] - torch.searchsorted(rising, bounds.detach().contiguous(), right=True)
    return sums.gather(1, above) - above * bounds


def contrastive_loss(
    contrast: Contrast, head: SimilarityHead, rows: Tensor, columns: Tensor, of_rows: Tensor, of_columns: Tensor
) -> LossOutput:
    """The loss of this rank's rows and columns among those of all ranks; its count is that of right pairs.

    Sums and counts of ranks add up to those of one process with the whole batch, and so do gradients. Batches that are
    gathered into a step do not: a pair has the wrong pairs of its own batch.

    Args:
        contrast: the loss.
        head: makes scores of vectors.
        rows: [n, D].
        columns: [m, D].
        of_rows: int [n], what each row is of; equal numbers belong together.
        of_columns: int [m].
    """
    with torch.autocast(rows.device.type, enabled=False):  # scores are up to 100, and their differences small
        rows, columns = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (rows, columns))
        all_rows, all_columns = gathered(rows).every, gathered(columns).every
        row_ids, column_ids = gathered(of_rows).every, gathered(of_columns).every
        seen_from_rows = contrast.side(head(rows, all_columns), of_rows[:, None] == column_ids)
        seen_from_columns = contrast.side(head(all_rows, columns).T, of_columns[:, None] == row_ids)
        return LossOutput(
            contrast.share * (seen_from_rows.total + seen_from_columns.total),
            (seen_from_rows.count + seen_from_columns.count) / 2,
        )
