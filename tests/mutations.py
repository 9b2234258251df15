"""Mistakes that the tests must see; `mutants.py` makes them one at a time."""

from __future__ import annotations

from typing import NamedTuple

PLAIN = "tests/nn/test_against_plain.py"
LAWS = "tests/nn/test_contract.py"
SEQUENCE = "tests/nn/test_sequence.py"
RESIDUAL = "tests/nn/test_residual.py"
POSITIONS = "tests/nn/test_positions.py"
ROTARY = "tests/nn/test_rotary.py"
ENDS = "tests/nn/test_ends.py"
TORCH = "tests/nn/test_parity_torch.py"
FUSION = "tests/nn/test_fusion.py"
MODEL = "tests/models/test_model.py"
STEPS = "tests/models/test_steps.py"
INIT = "tests/models/test_init.py"
PARITY = "tests/models/test_parity_transformers.py"


class Mutant(NamedTuple):
    """One mistake: in `file`, `right` becomes `wrong`; the tests that should see it."""

    name: str
    file: str
    right: str
    wrong: str
    tests: tuple[str, ...]


MUTANTS = (
    # ------------------------------------------------------------------ masks
    Mutant(
        "mask: padded keys are seen",
        "sequence.py",
        "see = see & self.keys.valid[:, None, None, :]",
        "see = see & True",
        (SEQUENCE,),
    ),
    Mutant(
        "mask: causal sees < instead of <=",
        "sequence.py",
        "queries[:, None, :, None] >= keys[:, None, None, :]",
        "queries[:, None, :, None] > keys[:, None, None, :]",
        (LAWS,),
    ),
    Mutant("mask: window off by one", "sequence.py", ".abs() < window)", ".abs() <= window)", (LAWS,)),
    Mutant(
        "mask: window counts padding",
        "sequence.py",
        "ranks = places[None] if self.keys.valid is None else positions_of(self.keys.valid)",
        "ranks = places[None]",
        (MODEL,),
    ),
    Mutant(
        "mask: packed documents see one another",
        "sequence.py",
        "see = see & (self.queries.segment[:, None, :, None] == self.keys.segment[:, None, None, :])",
        "see = see & True",
        (LAWS,),
    ),
    Mutant(
        "mask: rows that see nothing are not said to be empty",
        "sequence.py",
        "return Lowered(see=see | empty, empty=empty)",
        "return Lowered(see=see | empty)",
        (LAWS,),
    ),
    Mutant(
        "mask: a chunk sees its own future",
        "sequence.py",
        "if self.num_queries == 1 and self.start == self.num_keys - 1:",
        "if self.start == self.num_keys - self.num_queries and self.start > 0:",
        (LAWS,),
    ),
    Mutant(
        "mask: memory's padding is dropped",
        "nn/stack.py",
        "info = SequenceInfo(valid=memory.info.valid)",
        "info = SequenceInfo()",
        (LAWS,),
    ),
    Mutant(
        "mask: none in the mechanism",
        "nn/mechanisms/softmax.py",
        "attn_mask=added",
        "attn_mask=None",
        (LAWS,),
    ),
    Mutant(
        "mask: rows that see nothing are not cleared",
        "nn/mechanisms/softmax.py",
        "return out if lowered.empty is None else out.masked_fill(lowered.empty, 0.0)",
        "return out",
        (LAWS,),
    ),
    # ------------------------------------------------------------------ places
    Mutant(
        "places: counted in the array, not among real tokens",
        "nn/stack.py",
        "torch.arange(length, device=device)[None] if info.valid is None else positions_of(info.valid)",
        "torch.arange(length, device=device)[None]",
        (LAWS,),
    ),
    Mutant(
        "places: rotary turns keys one place further",
        "nn/attention.py",
        "            k = view.rotation(k)\n",
        "            k = Rotation(view.rotation.cos.roll(-1, -2), view.rotation.sin.roll(-1, -2))(k)\n",
        (PLAIN,),
    ),
    Mutant(
        "places: keys are not turned",
        "nn/attention.py",
        "            k = view.rotation(k)\n",
        "            pass\n",
        (PLAIN,),
    ),
    Mutant(
        "places: rotary mirrors instead of turning",
        "nn/positions/base.py",
        "b * self.cos + a * self.sin",
        "b * self.cos - a * self.sin",
        (ROTARY,),
    ),
    Mutant(
        "places: angles in half precision",
        "nn/positions/waves.py",
        "wide = torch.promote_types(dtype, torch.float32)",
        "wide = dtype",
        (POSITIONS,),
    ),
    Mutant(
        "places: cosines before sines",
        "nn/positions/sinusoidal.py",
        "torch.cat([angle.sin(), angle.cos()], -1)",
        "torch.cat([angle.cos(), angle.sin()], -1)",
        (PLAIN,),
    ),
    Mutant(
        "places: a grid read column by column",
        "nn/positions/learned.py",
        "pos[..., 0] * self.extent[1] + pos[..., 1]",
        "pos[..., 0] + pos[..., 1] * self.extent[0]",
        (PLAIN,),
    ),
    Mutant(
        "places: the cls token stands on the first patch's row",
        "nn/positions/learned.py",
        "torch.where(pos[..., 0] < 0, -1, index)",
        "torch.where(pos[..., 0] < 0, 0, index)",
        (PLAIN, PARITY),
    ),
    Mutant("places: the cls token at 0, not -1", "nn/embeddings.py", "value=-1)", "value=0)", (ENDS,)),
    # ------------------------------------------------------------------ caches
    Mutant(
        "cache: new values are written in reverse",
        "cache.py",
        "self.v[start : self.used] = k, v",
        "self.v[start : self.used] = k, v.flip(0)",
        (LAWS,),
    ),
    Mutant(
        "cache: a static one keeps keys as values",
        "cache.py",
        "self.v.index_copy_(0, places, v.to(self.v.dtype))",
        "self.v.index_copy_(0, places, k.to(self.v.dtype))",
        (LAWS,),
    ),
    Mutant(
        "cache: places start again with each step",
        "cache.py",
        "return self.length + own",
        "return own",
        (LAWS,),
    ),
    Mutant(
        "cache: left padding takes places",
        "cache.py",
        "return (self._valid & filled).sum(-1, keepdim=True) + own",
        "return self.length + own",
        (LAWS,),
    ),
    Mutant(
        "cache: what was padding is forgotten",
        "cache.py",
        "            self._valid.index_copy_(1, places, valid.expand(self._valid.shape[0], -1))\n",
        "            self._valid.index_fill_(1, places, True)\n",
        (LAWS,),
    ),
    Mutant(
        "cache: orders are forgotten",
        "cache.py",
        "            self._order.index_copy_(1, places, order.expand(self._order.shape[0], -1))\n",
        "            pass\n",
        (LAWS,),
    ),
    Mutant(
        "cache: chosen rows keep the old facts",
        "cache.py",
        "            self._valid = self._valid.index_select(0, rows)\n",
        "            self._valid = self._valid[:1].expand(len(rows), -1).clone()\n",
        (LAWS,),
    ),
    Mutant(
        "cache: rows are chosen in reverse",
        "cache.py",
        "torch.index_select(held[: self.used], 1, rows, out",
        "torch.index_select(held[: self.used], 1, rows.flip(0), out",
        ("tests/nn/test_cache.py", STEPS),
    ),
    Mutant(
        "cache: only new keys are seen",
        "cache.py",
        "return self.k[: self.used].permute(1, 2, 0, 3), self.v[: self.used].permute(1, 2, 0, 3)",
        "return k.permute(1, 2, 0, 3), v.permute(1, 2, 0, 3)",
        (LAWS,),
    ),
    Mutant(
        "cache: a memory's keys and values are swapped",
        "nn/attention.py",
        "cache.k, cache.v = k, v",
        "cache.k, cache.v = v, k",
        (LAWS,),
    ),
    Mutant(
        "cache: the image is read again at every step",
        "models/model.py",
        "        if not state.started:\n",
        "        if True:\n",
        (STEPS,),
    ),
    Mutant(
        "cache: scores of the first token of a chunk",
        "models/model.py",
        "self.heads[head](Tokens(out.x[:, -1:]))",
        "self.heads[head](Tokens(out.x[:, :1]))",
        (STEPS,),
    ),
    # ------------------------------------------------------------------ attention
    Mutant(
        "attention: wrong scale",
        "nn/mechanisms/base.py",
        "config.scale or head_dim**-0.5",
        "config.scale or (head_dim * self.num_heads) ** -0.5",
        (PLAIN,),
    ),
    Mutant(
        "attention: the scale is ignored",
        "nn/mechanisms/softmax.py",
        "scale=self.scale",
        "scale=None",
        (PLAIN,),
    ),
    Mutant(
        "attention: groups alternate instead of standing together",
        "nn/mechanisms/softmax.py",
        "            k,\n            v,\n            attn_mask",
        "            k.repeat(1, self.num_heads // k.shape[1], 1, 1),\n"
        "            v.repeat(1, self.num_heads // v.shape[1], 1, 1),\n            attn_mask",
        (LAWS,),
    ),
    Mutant(
        "attention: dropout in evaluation",
        "nn/mechanisms/softmax.py",
        "self.config.dropout if self.training else 0.0",
        "self.config.dropout",
        (RESIDUAL,),
    ),
    Mutant(
        "attention: weights unused by a missing memory",
        "nn/mechanisms/softmax.py",
        "return (q + k.sum() + v.sum()) * 0.0",
        "return q * 0.0",
        (LAWS,),
    ),
    Mutant(
        "attention: keys are not normed",
        "nn/attention.py",
        "            k = self.k_norm(k)\n",
        "            pass\n",
        (PLAIN,),
    ),
    Mutant(
        "attention: beams are folded across samples",
        "nn/attention.py",
        "q.unflatten(0, (-1, fold)).transpose(1, 2).flatten(2, 3)",
        "q.unflatten(0, (fold, -1)).transpose(0, 1).transpose(1, 2).flatten(2, 3)",
        (LAWS,),
    ),
    Mutant(
        "attention: beams are unfolded in another order",
        "nn/attention.py",
        "out.unflatten(2, (fold, -1)).transpose(1, 2).flatten(0, 1)",
        "out.unflatten(2, (-1, fold)).transpose(2, 3).transpose(1, 2).flatten(0, 1)",
        (LAWS,),
    ),
    Mutant(
        "attention: packing that cannot be honoured is not refused",
        "nn/attention.py",
        'if view.mask.queries.segment is not None and "segment" not in can:',
        "if False:",
        ("tests/nn/test_mechanisms.py",),
    ),
    # ------------------------------------------------------------------ blocks
    Mutant(
        "block: pre-norm and post-norm swapped",
        "nn/residual.py",
        'self.pre = config.placement != "post"',
        'self.pre = config.placement == "post"',
        (PLAIN, TORCH),
    ),
    Mutant(
        "block: the residual path is normed",
        "nn/residual.py",
        "y = x + self._regularised(",
        "y = self.given(x) + self._regularised(",
        (PLAIN,),
    ),
    Mutant(
        "block: dropout in evaluation",
        "nn/residual.py",
        "        if not self.training:\n            return y\n",
        "",
        (RESIDUAL,),
    ),
    Mutant(
        "block: skipped samples are not made up for",
        "nn/residual.py",
        " / (1 - self.drop_path)",
        "",
        (RESIDUAL,),
    ),
    Mutant(
        "block: layer scale is ignored",
        "nn/residual.py",
        "            y = y * self.gain\n",
        "            pass\n",
        (PLAIN,),
    ),
    Mutant(
        "block: gate and up are swapped",
        "nn/ffn.py",
        "self.activation(self.gate_proj(x)) * self.up_proj(x)",
        "self.activation(self.up_proj(x)) * self.gate_proj(x)",
        (PLAIN,),
    ),
    Mutant(
        "block: the norm's eps is ignored",
        "nn/norms.py",
        "super().__init__(dim, eps=config.eps, bias=config.bias)",
        "super().__init__(dim, bias=config.bias)",
        (PLAIN,),
    ),
    Mutant(
        "block: no last norm", "nn/stack.py", "return x if self.norm is None else self.norm(x)", "return x", (PLAIN,)
    ),
    # ------------------------------------------------------------------ towers, fusion, heads
    Mutant(
        "picture: a patch's pixels in another order",
        "nn/embeddings.py",
        "x.permute(0, 2, 4, 1, 3, 5)",
        "x.permute(0, 2, 4, 3, 5, 1)",
        (ENDS,),
    ),
    Mutant(
        "picture: patches beside it are real",
        "nn/embeddings.py",
        "return (pos < (size // patch)[:, None, :]).all(-1)",
        "return (pos < (size // patch)[:, None, :]).any(-1)",
        (ENDS,),
    ),
    Mutant(
        "picture: a missing one has a cls token",
        "nn/embeddings.py",
        "torch.cat([valid.any(-1, keepdim=True), valid], 1)",
        "torch.cat([torch.ones_like(valid[:, :1]), valid], 1)",
        (ENDS,),
    ),
    Mutant(
        "fusion: a prefix is causal",
        "nn/fusion/reader.py",
        "torch.where(prefix, length - 1, places)",
        "torch.where(prefix, places, places)",
        (FUSION,),
    ),
    Mutant(
        "fusion: the others' padding is dropped",
        "nn/fusion/base.py",
        "SequenceInfo(valid=info.valid, modality=modality, grid=grid)",
        "SequenceInfo(modality=modality, grid=grid)",
        (MODEL,),
    ),
    Mutant(
        "fusion: the reader starts one token early",
        "nn/fusion/reader.py",
        "return Fused(tokens, None, sum(t.x.shape[1] for t in others))",
        "return Fused(tokens, None, max(sum(t.x.shape[1] for t in others) - 1, 0))",
        (MODEL,),
    ),
    Mutant(
        "pooling: the mean counts padding",
        "nn/pooling.py",
        "keep.sum(1).clamp_min(1)",
        "keep.shape[1]",
        ("tests/nn/test_pooling.py",),
    ),
    Mutant(
        "initial weights: a residual map is not shrunk",
        "nn/init.py",
        "module.weight, shrinks.get(name, 1.0)",
        "module.weight, 1.0",
        (INIT,),
    ),
)
