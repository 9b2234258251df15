"""Text from a model, one token after another: greedy, sampling, beam search; batched, with caches.

The kind of `DecodeConfig` chooses the search (`patchword.models.decoding`). Every search stops a row at `eos_id` and
all rows at `max_len`; padding and `<bos>` are never said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from patchword.config import DecodeConfig, UserError
from patchword.config.speaking import said_tower, speaking_problems
from patchword.models.decoding import Decoding, Search, Searched, Vocabulary
from patchword.models.model import Model
from patchword.nn.twin import twin


class Generated(NamedTuple):
    """What was said."""

    ids: list[list[int]]
    """Token ids of each row, without `<bos>` and `<eos>`."""
    log_probs: list[float]
    """Log-probability of each row in nats, its `<eos>` included where it was said."""


@torch.inference_mode()
def generate(
    model: Model,
    inputs: Mapping[str, Any],
    config: DecodeConfig,
    vocabulary: Vocabulary,
    head: str = "text",
    prompt: Tensor | None = None,
) -> Generated:
    """Continue `prompt` (ids [B, T]; None: `<bos>`) for each sample of `inputs`.

    The model is used in the mode it is in; call `model.eval()` first. For many batches, give what `prepared` returns.

    Args:
        model: one whose `head` can say one word after another.
        inputs: what else is read, by tower; none where `head` reads its text tower alone: then `prompt` is needed.
        config: how the next words are chosen.
        vocabulary: ids that mean more than a word.
        head: the language head that speaks.
        prompt: what each text begins with.

    Raises:
        UserError: the model cannot say one word after another, or `max_len` and the prompt together exceed what the
            text tower can place.
        ValueError: neither inputs nor a prompt, or a prompt without any token.
    """
    if prompt is None and not inputs:
        raise ValueError("nothing to go by: give inputs, or a prompt (ids [B, T], T at least 1)")
    rows = prompt if prompt is not None else next(iter(inputs.values()))
    batch = len(rows if isinstance(rows, Tensor) else rows[0])
    if batch == 0:
        return Generated([], [])
    if prompt is None:
        if vocabulary.bos_id is None:
            raise ValueError("a vocabulary without a token that begins texts needs a prompt")
        device = next(model.parameters()).device
        prompt = torch.full((batch, 1), vocabulary.bos_id, dtype=torch.long, device=device)
    if not prompt.shape[1]:
        raise ValueError("an empty prompt: a text begins with at least one token")
    _check_length(model, head, prompt.shape[1], config.max_len)
    found = searched(twin(model), inputs, config, vocabulary, head, prompt)
    return Generated([_until(row, vocabulary.end) for row in found.ids.tolist()], found.log_probs.tolist())


def searched(
    model: Model, inputs: Mapping[str, Any], config: DecodeConfig, vocabulary: Vocabulary, head: str, prompt: Tensor
) -> Searched:
    """As `generate`, in tensors and with the model as it is; a model without values goes on to the end."""
    search: Search = config.build()
    return search.search(Decoding(model, inputs, config, vocabulary, head, prompt))


def prepared(model: Model) -> Model:
    """What to call `generate` with for many batches: it says the same in less time.

    On a CPU it holds the model's matrices a second time, as they are now: prepare again when they have changed.
    """
    return twin(model, relayout=True)


def _check_length(model: Model, head: str, prompt: int, max_len: int) -> None:
    for problem in speaking_problems(model.config, head):
        raise UserError(f"model.{problem.path}: {problem.message}")
    limit = getattr(model.config.towers[said_tower(model.config, head)], "max_len", None)
    if limit is not None and prompt + max_len - 1 > limit:
        raise UserError(
            f"decode.max_len {max_len} after a prompt of {prompt} exceeds the text tower's max_len {limit}: "
            f"set decode.max_len to at most {limit - prompt + 1}"
        )


def _until(row: Sequence[int], eos: int) -> list[int]:
    ids = list(row)
    return ids[: ids.index(eos)] if eos in ids else ids
