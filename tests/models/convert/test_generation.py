"""Our decoding says what theirs says: a converted T5, greedily, from texts with padding."""

from __future__ import annotations

import torch
from foreign import QUIET, VOCAB, ids, padding, read, silent, theirs
from parity_encoders import t5_config

from patchword.config import GreedyDecodeConfig
from patchword.models.decoding import Vocabulary
from patchword.models.generate import generate
from patchword.sequence import TextInput


@torch.no_grad()
def test_greedy_decoding_of_t5() -> None:
    """Neither says padding, which is also what their decoder begins with."""
    start, end = QUIET["pad_token_id"], QUIET["eos_token_id"]
    reference = theirs("T5ForConditionalGeneration", t5_config(eos_token_id=end, pad_token_id=start), seed=4)
    _, _, model = read("t5", reference)
    texts = set()
    for side in ("none", "left", "right"):
        valid, tokens = padding(side), ids(seed=7)
        said = silent(
            lambda tokens=tokens, valid=valid: reference.generate(
                input_ids=tokens,
                attention_mask=valid.long(),
                max_new_tokens=8,
                do_sample=False,
                suppress_tokens=[start],
            )
        )
        words = Vocabulary(bos_id=start, eos_id=end, pad_id=start)
        prompt = torch.full((3, 1), start)
        source = {"source": TextInput(tokens, valid)}
        got = generate(model, source, GreedyDecodeConfig(max_len=8), words, prompt=prompt).ids
        for ours, row in zip(got, said[:, 1:].tolist(), strict=True):
            want = row[: row.index(end)] if end in row else row
            assert ours == want
            assert all(0 < word < VOCAB for word in ours)
            texts.add(tuple(ours))
    assert len(texts) > 3  # what is said depends on what was read
