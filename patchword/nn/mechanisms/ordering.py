"""Facts about tokens as chunks of sums: documents and orders, sorted so that what a query sees stands together.

B batch, T tokens, N chunks of C tokens. Sorted by document and then by order, a query sees from the first token of its
document to the last token of its own order: its tie. A document may begin in an earlier chunk, a tie end in a later
one, and of each chunk only the first document and the last tie reach into other chunks.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from patchword.nn.mechanisms.sums import Chunks, Side, split
from patchword.sequence import Mask, SequenceInfo, can_look


class Ordering(NamedTuple):
    """How tokens are passed."""

    chunks: Chunks
    """Who sees whom on the way."""
    places: Tensor | None = None
    """int [B or 1, T], where the n-th token of the way stands; None: as they stand."""

    def there(self, x: Tensor) -> Tensor:
        """Tokens in the order of the way; [B, heads, T, E] -> same."""
        return x if self.places is None else _pick(x, self.places)

    def back(self, x: Tensor) -> Tensor:
        """The inverse of `there`."""
        return x if self.places is None else _pick(x, self.places.argsort(-1))


def _pick(x: Tensor, places: Tensor) -> Tensor:
    return x.gather(2, places[:, None, :, None].expand(x.shape[0], x.shape[1], -1, x.shape[3]))


def order_tokens(mask: Mask, causal: bool, chunk: int, like: Tensor) -> Ordering:
    """How the tokens of a sequence that looks at itself are passed, in chunks of at most `chunk`.

    Flags are numbers of the type of `like`, on its device.

    Raises:
        ValueError: with a cache, a token would come before or beside one that was there earlier.
    """
    info, length = mask.queries, mask.num_queries
    if causal:
        _check_start(mask)
    num, size = split(length, chunk)
    if not length or (causal and info.segment is None and _ascending(info.order)):
        return Ordering(Chunks(num, size, like.new_ones(1, 1, 1, size, size).tril()))
    index, documents, ties = _sorted(info, causal, length, like.device)
    # what is missing in the last chunk is a document of its own, which nobody sees
    missing = num * size - length
    documents, ties = (F.pad(x, (0, missing), value=length).unflatten(1, (num, size)) for x in (documents, ties))
    see = (documents[..., :, None] == documents[..., None, :]) & (ties[..., :, None] >= ties[..., None, :])
    past = _side(documents, documents[..., 0], like)
    future = _side(ties.flip(1), ties.flip(1)[..., -1], like) if num > 1 else None
    return Ordering(Chunks(num, size, see[:, None].to(like.dtype), past, future), index)


def _ascending(order: Tensor | None) -> bool:
    """Whether each token comes after the one before it, as far as one can look without waiting."""
    if order is None:
        return True
    if not can_look(order):
        return False
    return bool((order.diff(dim=-1) > 0).all())


def _sorted(info: SequenceInfo, causal: bool, length: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Where the n-th token stands, and the numbers of its document and of its tie; int [B or 1, T] each."""
    zeros = torch.zeros(1, length, dtype=torch.long, device=device)
    order = zeros
    if causal:
        order = torch.arange(length, device=device)[None] if info.order is None else info.order
    segment = zeros if info.segment is None else info.segment
    order, segment = torch.broadcast_tensors(order, segment)
    index = order.argsort(dim=-1, stable=True)
    index = index.gather(1, segment.gather(1, index).argsort(dim=-1, stable=True))
    order, segment = order.gather(1, index), segment.gather(1, index)
    next_document = F.pad(segment.diff(dim=-1) != 0, (1, 0))
    next_tie = next_document | F.pad(order.diff(dim=-1) != 0, (1, 0))
    return index, next_document.cumsum(-1), next_tie.cumsum(-1)


def _side(numbers: Tensor, edge: Tensor, like: Tensor) -> Side:
    """Carrying for queries that see the run at their chunk's edge; as chunks are passed, [B, N, C] and [B, N]."""
    after = F.pad(edge[:, 1:], (0, 1))
    adds, keeps, reads = numbers == after[..., None], edge == after, numbers == edge[..., None]
    return Side(
        *(x.unflatten(1, (1, -1)).to(like.dtype) for x in (adds[..., None], keeps[..., None, None], reads[..., None]))
    )


def _check_start(mask: Mask) -> None:
    """Sums cannot be looked at in part: what comes later must see all that is in them.

    Nothing is checked while compiling.
    """
    order, keys = mask.queries.order, mask.keys.order
    if order is None or keys is None or mask.num_keys == mask.num_queries or torch.compiler.is_compiling():
        return
    lowest, highest = torch.iinfo(torch.long).min, torch.iinfo(torch.long).max
    earlier = (torch.arange(mask.num_keys, device=keys.device) < mask.start)[None]
    if mask.keys.valid is not None:
        earlier = earlier & mask.keys.valid
    last = keys.masked_fill(~earlier, lowest).amax(-1)
    if mask.queries.valid is not None:
        order = order.masked_fill(~mask.queries.valid, highest)
    if order.shape[1] and bool((order.amin(-1) <= last).any()):
        raise ValueError(
            "sums over earlier tokens cannot be looked at in part: tokens of one order must be given in one chunk, "
            "and later chunks have higher orders"
        )
