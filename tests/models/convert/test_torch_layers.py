"""Key maps of torch's own transformer layers, against those layers in float64."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from foreign import VOCAB, ids, ours, padding
from torch import Tensor, nn

from patchword.config import ResidualConfig, SoftmaxAttentionConfig, StackConfig, StandardFeedForwardConfig
from patchword.models.convert import LAYOUTS
from patchword.models.convert.keymap import to_ours
from patchword.models.convert.torch_layers import transformer
from patchword.nn import Stack
from patchword.sequence import SequenceInfo, Tokens
from patchword.testing import randomise

DIM, HEADS, DEPTH, HIDDEN = 16, 4, 2, 24


def close(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got, want, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("placement", ["pre", "post"])
@torch.no_grad()
def test_transformer(placement: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of nested tensors, which it does not use
        theirs = nn.Transformer(
            DIM, HEADS, DEPTH, DEPTH, HIDDEN, batch_first=True, norm_first=placement == "pre", dropout=0.0
        )
    randomise(theirs, torch.Generator().manual_seed(2))
    theirs = theirs.double().train()  # in evaluation it takes a path of its own that gives zeros at padding
    own = SoftmaxAttentionConfig(num_heads=HEADS)
    shape = StackConfig(
        dim=DIM,
        depth=DEPTH,
        attention=own,
        ffn=StandardFeedForwardConfig(hidden_dim=HIDDEN, activation="relu"),
        residual=ResidualConfig(placement=placement),
    )
    looking = shape.replace(attention=own.replace(causal=True), cross_attention=own)
    both = nn.ModuleDict({"encoder": Stack(shape), "decoder": Stack(looking)}).double()
    both.load_state_dict(to_ours(transformer(DEPTH, "encoder", "decoder"), theirs.state_dict()))
    source, target = (torch.randn(3, length, DIM, dtype=torch.float64) for length in (9, 5))
    valid, later = padding("right"), nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64)
    want = theirs(source, target, tgt_mask=later, src_key_padding_mask=~valid, memory_key_padding_mask=~valid)
    info = SequenceInfo(valid=valid)
    got = both["decoder"](Tokens(target), Tokens(both["encoder"](Tokens(source, info)), info))
    close(got, want)


class WordModel(nn.Transformer):
    """The transformer of torch's word_language_model, by its structure."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            super().__init__(DIM, HEADS, DEPTH, dim_feedforward=HIDDEN)
        self.input_emb, self.decoder = nn.Embedding(VOCAB, DIM), nn.Linear(DIM, VOCAB)
        places, waves = torch.arange(20.0)[:, None], torch.arange(0, DIM, 2)
        angles = places * torch.exp(waves * (-math.log(10_000.0) / DIM))
        table = torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
        self.pos_encoder = nn.Module()
        self.pos_encoder.register_buffer("pe", table[:, None])

    def forward(self, src: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Ids [T, B] -> log-probabilities [T, B, V]."""
        x = self.input_emb(src) * math.sqrt(DIM) + self.pos_encoder.pe[: len(src)]
        later = nn.Transformer.generate_square_subsequent_mask(len(src), dtype=x.dtype)
        return self.decoder(self.encoder(x, mask=later)).log_softmax(-1)


@torch.no_grad()
def test_word_language_model() -> None:
    theirs = WordModel()
    randomise(theirs, torch.Generator().manual_seed(2))
    theirs = theirs.double().eval()
    theirs.pos_encoder.pe = WordModel().pos_encoder.pe.double()  # pyright: ignore[reportAttributeAccessIssue]
    settings = {"ninp": DIM, "nhead": HEADS, "nhid": HIDDEN, "nlayers": DEPTH, "ntoken": VOCAB}
    found = LAYOUTS["word-language-model"].read(settings, theirs.state_dict())
    got = ours(found)({"text": ids()}).heads["text"].log_softmax(-1)
    torch.testing.assert_close(got, theirs(ids().T).transpose(0, 1), atol=1e-5, rtol=1e-5)  # its table is float32
