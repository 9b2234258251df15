"""Mistakes in fusions and poolings that the tests must see."""

from __future__ import annotations

from mutations import Mutant

LAYERS = "tests/nn/test_fusion_layers.py"
VECTORS = "tests/nn/test_fusion_vectors.py"
CONTRACT = "tests/nn/test_fusion_contract.py"
FILM = "tests/nn/test_film.py"
POOLING = "tests/nn/test_pooling.py"

FUSION_MUTANTS = (
    Mutant(
        "co-attention: towers are seen after their step",
        "nn/fusion/co_attention.py",
        "shown = {name: cast(Residual, layer[name].cross_attn).given(y) for name, y in x.items()}",
        "shown = {name: y for name, y in x.items()}",
        (LAYERS,),
    ),
    Mutant(
        "several memories: an absent one adds its offset",
        "nn/summed.py",
        "attention(x, views[name]) * _there(views[name], x)",
        "attention(x, views[name])",
        (LAYERS,),
    ),
    Mutant(
        "layers: no last norm",
        "nn/fusion/layered.py",
        "y if norm is None else norm(y)",
        "y",
        (LAYERS,),
    ),
    Mutant(
        "bottleneck: absent towers speak",
        "nn/fusion/bottleneck.py",
        "weight = there.to(before.dtype)",
        "weight = torch.ones_like(there, dtype=before.dtype)",
        (LAYERS,),
    ),
    Mutant(
        "bottleneck: nothing is exchanged",
        "nn/fusion/bottleneck.py",
        "torch.where(count > 0, total / count.clamp_min(1), before)",
        "torch.where(count > 9, total / count.clamp_min(1), before)",
        (LAYERS,),
    ),
    Mutant(
        "weighted: absent towers have weight",
        "nn/fusion/weighted.py",
        '.masked_fill(~(there | none), float("-inf"))',
        "",
        (VECTORS,),
    ),
    Mutant(
        "vectors: an offset stands for an absent tower",
        "nn/fusion/vectors.py",
        "y * has[:, None].to(y.dtype)",
        "y",
        (VECTORS,),
    ),
    Mutant(
        "products: no ones",
        "nn/fusion/tensor.py",
        "F.pad(v, (1, 0), value=1.0)",
        "F.pad(v, (1, 0), value=0.0)",
        (VECTORS,),
    ),
    Mutant(
        "low rank: factors in the order of their names",
        "nn/fusion/tensor.py",
        "parts = zip(self.names, self",
        "parts = zip(sorted(self.names), self",
        (VECTORS,),
    ),
    Mutant(
        "film: what follows is not scaled",
        "nn/fusion/film.py",
        "return super().following(self._filmed(tokens, kept), kept)",
        "return super().following(tokens, kept)",
        (CONTRACT,),
    ),
    Mutant(
        "film: an absent tower shifts",
        "nn/fusion/film.py",
        "return film * real(tokens).any(-1, keepdim=True).to(film.dtype)",
        "return film",
        (FILM,),
    ),
    Mutant(
        "summary: an absent tower has one",
        "nn/pooling.py",
        "real(tokens).any(-1, keepdim=True).expand(y.shape[:2])",
        "real(tokens).any(-1, keepdim=True).expand(y.shape[:2]) | True",
        (POOLING,),
    ),
    Mutant(
        "hierarchical pooling: windows of places, not of real tokens",
        "nn/pooling.py",
        "order = (~valid).int().sort(dim=1, stable=True).indices",
        "order = torch.arange(length, device=valid.device).expand(valid.shape)",
        (POOLING,),
    ),
    Mutant(
        "texts of a sample: rows are dealt in turn",
        "nn/fusion/base.py",
        "return x.repeat_interleave(rows // batch, 0)",
        "return x.repeat(rows // batch, *[1] * (x.ndim - 1))",
        (CONTRACT,),
    ),
)
