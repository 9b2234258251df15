"""Captions of exactly as many tokens on both sides: `<eos>` is known to both but its score never wins."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.rows import Contest
from patchword.config import BeamDecodeConfig, DecodeConfig, GreedyDecodeConfig
from patchword.models.decoding import Vocabulary
from patchword.models.generate import generate, prepared
from patchword.models.model import Model, count_parameters

IMAGE = peers.ImageShape(dim=256, depth=6, heads=4, side=112, patch=16)
TEXT = peers.TextShape(dim=256, depth=6, heads=4, vocab_size=2929, max_len=48)
SPECIAL = Vocabulary(bos_id=1, eos_id=2, pad_id=0)
NEW_TOKENS = 20
SEARCHES: dict[str, tuple[DecodeConfig, dict[str, int]]] = {
    "greedy": (GreedyDecodeConfig(max_len=NEW_TOKENS), {"num_beams": 1}),
    "beam-4": (BeamDecodeConfig(max_len=NEW_TOKENS, num_beams=4), {"num_beams": 4}),
}


def captions() -> list[Contest]:
    """Greedy and beam search, one picture and several."""
    torch.manual_seed(0)
    ours, peer = peers.captioner(IMAGE, TEXT, list(SPECIAL))
    ready = prepared(
        ours
    )  # once for all batches, as in serving; the peer's decoder keeps its matrices so from the start
    return [_captioning(name, count, pairs, ready, peer) for name in SEARCHES for count, pairs in ((1, 20), (16, 10))]


def _captioning(name: str, count: int, pairs: int, ours: Model, peer: object) -> Contest:
    decode, options = SEARCHES[name]
    pixels = torch.randint(256, (count, 3, IMAGE.side, IMAGE.side), dtype=torch.uint8)
    prepared = (pixels.float() / 255 - 0.5) / 0.5  # ours does this itself, in its own time

    def our_ids() -> list[list[int]]:
        return generate(ours, {"image": pixels}, decode, SPECIAL).ids

    def their_ids() -> Tensor:
        return peer.generate(  # pyright: ignore[reportAttributeAccessIssue]
            prepared,
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            decoder_start_token_id=SPECIAL.bos_id,
            eos_token_id=SPECIAL.eos_id,
            pad_token_id=SPECIAL.pad_id,
            **options,
        )

    task = f"{NEW_TOKENS} tokens, {name}, {count} picture{'s' * (count > 1)}"
    facts = _check(name, our_ids, their_ids) | {"parameters of each": f"{count_parameters(ours):,}"}
    return Contest(task, "Hugging Face VisionEncoderDecoder, sdpa", our_ids, their_ids, pairs, facts)


def _check(name: str, our_ids: Callable[[], list[list[int]]], their_ids: Callable[[], Tensor]) -> dict[str, str]:
    """Both say as many tokens, and the same ones: always where the search is greedy."""
    first, second = our_ids(), [row[1:] for row in their_ids().tolist()]
    lengths = {len(row) for row in first + second}
    assert lengths == {NEW_TOKENS}, f"texts are {lengths} tokens long"
    same = sum(a == b for a, b in zip(first, second, strict=True))
    assert name != "greedy" or same == len(first), f"of {len(first)} texts only {same} are the same"
    words = len({token for row in first for token in row})
    return {"same texts": f"{same} of {len(first)} ({words} different tokens)"}
