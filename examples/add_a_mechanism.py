"""A mechanism of your own in one file: its settings, what it can do, its arithmetic."""

import patchword
from patchword.config import AttentionConfig, implements
from patchword.config.numbers import PositiveFloat
from patchword.nn.mechanisms import Mechanism
from patchword.testing import check_mechanism


class SigmoidAttentionConfig(AttentionConfig, kind="sigmoid"):
    """sigmoid(scores) v / n: each key has a weight of its own (Ramapuram et al. 2024)."""

    can = frozenset({"causal", "window", "segment", "bias", "cache", "cross"})

    sharpness: PositiveFloat = 1.0
    """Factor on the scores before the sigmoid."""


@implements(SigmoidAttentionConfig)
class SigmoidAttention(Mechanism):
    """In plain tensor operations; a key that may not be seen has weight zero."""

    def forward(self, q, k, v, mask, bias=None, cache=None):
        """q [B, H, T, E], k and v [B, G, S, E] -> [B, H, T, E]."""
        if cache is not None:
            k, v = cache.write(k, v, mask.start)
        k, v = (x.repeat_interleave(self.num_heads // self.num_kv_heads, 1) for x in (k, v))
        see = mask.dense(self.config.causal, self.config.window, q.device)
        scores = q @ k.mT * self.scale + (0.0 if bias is None else bias(q * self.scale))
        weights = (scores * self.config.sharpness).sigmoid() * see
        return weights @ v / see.sum(-1, keepdim=True).clamp_min(1)


if __name__ == "__main__":
    checks = check_mechanism(SigmoidAttentionConfig)
    print(f"The contract holds: {sum(checks.values()):,} checks of {len(checks)} laws.")
    settings = {"model.text.vocab_size": 512, "model.image.attention": "sigmoid"}
    model = patchword.create_model("captioner-tiny", **settings)
    print(f"A captioner whose image tower uses it has {sum(p.numel() for p in model.parameters()):,} parameters.")
