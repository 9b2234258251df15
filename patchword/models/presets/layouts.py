"""The four ways in which papers lay out two towers, as captioners of the embedded scenes that differ in nothing else.

All have captioner-tiny's widths and training, and seven blocks: what differs is whose they are, who meets whom, and
where. See docs/fusion.md.
"""

from __future__ import annotations

from patchword.config import (
    CrossFusionConfig,
    ImageTowerConfig,
    PerModalityFeedForwardConfig,
    PerModalityProjectionConfig,
    PrefixFusionConfig,
    RunConfig,
    StackConfig,
    SummaryConfig,
    TextTowerConfig,
)
from patchword.models.presets import captioner

_BLOCKS, _IMAGE = 7, 4  # in all; of the picture's own stack, where it has one


def single_stream() -> RunConfig:
    """One stack reads patches and words in one sequence, all with the same weights (UNITER, PaliGemma's decoder)."""
    run, image, text, trunk = _parts()
    shared = trunk.replace(depth=_BLOCKS, cross_attention=None)
    return _laid_out(run, "single-stream", image.replace(depth=0), text, PrefixFusionConfig(), shared)


def dual_stream() -> RunConfig:
    """Each modality has a stack, and the text's looks at the picture's through cross-attention (ViLBERT, BLIP)."""
    run, image, text, trunk = _parts()
    return _laid_out(run, "dual-stream", image, text, CrossFusionConfig(), trunk.replace(depth=_BLOCKS - _IMAGE))


def merged_attention() -> RunConfig:
    """Patches and words look at one another in one sequence, each with its modality's weights (VLMo, BEiT-3, MoT)."""
    run, image, text, trunk = _parts()
    names = ("image", "text")
    assert trunk.attention is not None
    assert trunk.ffn is not None
    merged = trunk.replace(
        depth=_BLOCKS,
        attention=trunk.attention.replace(projection=PerModalityProjectionConfig(names=names)),
        ffn=PerModalityFeedForwardConfig(of=dict.fromkeys(names, trunk.ffn)),
        cross_attention=None,
    )
    return _laid_out(run, "merged-attention", image.replace(depth=0), text, PrefixFusionConfig(), merged)


def late_fusion() -> RunConfig:
    """Each modality has a stack of its own; the picture is pooled to eight vectors, which one last block looks at."""
    run, image, text, trunk = _parts()
    alone = text.replace(depth=_BLOCKS - _IMAGE - 1, attention=trunk.attention, ffn=trunk.ffn)
    last = trunk.replace(depth=1)
    fusion = CrossFusionConfig(summary=SummaryConfig(num_queries=8))
    return _laid_out(run, "late-fusion", image, alone, fusion, last)


def _parts() -> tuple[RunConfig, ImageTowerConfig, TextTowerConfig, StackConfig]:
    run = captioner.tiny()
    image, text = run.model.towers["image"], run.model.towers["text"]
    assert isinstance(image, ImageTowerConfig)
    assert isinstance(text, TextTowerConfig)
    assert run.model.trunk is not None
    return run, image.replace(depth=_IMAGE), text, run.model.trunk


def _laid_out(
    run: RunConfig,
    name: str,
    image: ImageTowerConfig,
    text: TextTowerConfig,
    fusion: CrossFusionConfig | PrefixFusionConfig,
    trunk: StackConfig,
) -> RunConfig:
    model = run.model.replace(towers={"image": image, "text": text}, fusion=fusion, trunk=trunk)
    return run.replace(name=f"layout-{name}", model=model)
