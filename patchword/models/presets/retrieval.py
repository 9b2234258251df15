"""Pictures and texts in one space: two towers, compared by the vectors that are read off them."""

from __future__ import annotations

from patchword.config import (
    AttentionPoolConfig,
    AugmentConfig,
    BatchConfig,
    BPETokenizerConfig,
    CaptioningTaskConfig,
    CocaTaskConfig,
    CrossFusionConfig,
    DataConfig,
    EmbeddingHeadConfig,
    FirstPoolConfig,
    ImageConfig,
    ImageTowerConfig,
    LastPoolConfig,
    LearnedPositionConfig,
    MeanPoolConfig,
    ModelConfig,
    MuonConfig,
    OptimizerConfig,
    PoolConfig,
    RetrievalTaskConfig,
    RunConfig,
    SigmoidContrastConfig,
    SimilarityHeadConfig,
    SoftmaxAttentionConfig,
    StandardFeedForwardConfig,
    SummaryConfig,
    TextTowerConfig,
    TrainConfig,
    XavierInitConfig,
)
from patchword.models.presets import captioner


def _pair(image: ImageTowerConfig, text: TextTowerConfig, out_dim: int, pool: PoolConfig) -> ModelConfig:
    """Towers that start from little data, each read off into one space."""
    return ModelConfig(
        towers={"image": image, "text": text},
        heads={
            "image": EmbeddingHeadConfig(source="image", out_dim=out_dim, pool=pool),
            "text": EmbeddingHeadConfig(source="text", out_dim=out_dim, pool=pool),
            "similarity": SimilarityHeadConfig(),
        },
        init=XavierInitConfig(),
        embed_std=0.05,
    )


def _towers(run: RunConfig, depth: int) -> tuple[ImageTowerConfig, TextTowerConfig]:
    """A captioner's tower for pictures, and one for texts of `depth` such layers."""
    image, text = run.model.towers["image"], run.model.towers["text"]
    assert isinstance(image, ImageTowerConfig)
    assert isinstance(text, TextTowerConfig)
    return image, text.replace(
        depth=depth, attention=image.attention, ffn=image.ffn, residual=image.residual.replace(drop_path=0.0)
    )


def tiny() -> RunConfig:
    """Two towers that learn in minutes on two cores which sentence tells which embedded scene (CLIP's loss)."""
    run = captioner.tiny()
    image, text = _towers(run, depth=3)
    return run.replace(
        name="clip-tiny",
        task=RetrievalTaskConfig(),
        model=_pair(image, text, out_dim=128, pool=MeanPoolConfig()),
        train=run.train.replace(steps=2000, optimizer=MuonConfig(lr=1e-3), best_metric="recall_mean"),
    )


def small() -> RunConfig:
    """Two towers for some thousands of photos, from scratch on a CPU in minutes (CLIP's loss)."""
    run = captioner.small()
    image, text = _towers(run, depth=1)
    image = image.replace(dim=128, image_size=(64, 64), stem=(16, 64, 128))
    return run.replace(
        name="clip-small",
        task=RetrievalTaskConfig(),
        model=_pair(image, text.replace(dim=128), out_dim=128, pool=MeanPoolConfig()),
        data=run.data.replace(
            image=run.data.image.replace(height=64, width=64), batch=BatchConfig(size=128, captions=5)
        ),
        train=run.train.replace(
            optimizer=MuonConfig(lr=1e-3, weight_decay=0.1),
            eval_every=None,
            eval_samples=None,
            best_metric="recall_mean",
        ),
    )


def sigmoid_small() -> RunConfig:
    """clip-small with SigLIP's loss: a yes or no for every pair."""
    run = small()
    heads = run.model.heads | {"similarity": SimilarityHeadConfig(temperature=0.1, max_scale=None, bias=-10.0)}
    return run.replace(
        name="siglip-small",
        task=RetrievalTaskConfig(contrast=SigmoidContrastConfig()),
        model=run.model.replace(heads=heads),
    )


def coca_small() -> RunConfig:
    """A captioner whose texts and pictures also find one another, for some thousands of photos (CoCa's two losses)."""
    run = captioner.small()
    image, text = _towers(run, depth=2)
    assert text.attention is not None
    assert run.model.trunk is not None
    model = run.model.replace(
        towers={"image": image, "text": text.replace(attention=text.attention.replace(causal=True))},
        fusion=CrossFusionConfig(summary=SummaryConfig(num_queries=16)),
        trunk=run.model.trunk.replace(depth=2),
        heads=run.model.heads
        | {
            "image_vector": EmbeddingHeadConfig(source="image", out_dim=256, pool=AttentionPoolConfig()),
            "text_vector": EmbeddingHeadConfig(source="text", out_dim=256, pool=LastPoolConfig()),
            "similarity": SimilarityHeadConfig(rows="image_vector", columns="text_vector"),
        },
    )
    captioning = run.task
    assert isinstance(captioning, CaptioningTaskConfig)
    return run.replace(
        name="coca-small",
        task=CocaTaskConfig(label_smoothing=captioning.label_smoothing, decode=captioning.decode),
        model=model,
    )


def base() -> RunConfig:
    """CLIP with ViT-B/32: `patchword convert` reads its weights; for millions of pictures on GPUs from scratch."""
    return RunConfig(
        name="clip-base",
        task=RetrievalTaskConfig(chunk=256),
        model=clip(image=768, text=512, out_dim=512, depth=12, patch=32, side=224),
        data=DataConfig(
            image=ImageConfig(height=224, width=224, augment=AugmentConfig(crop=0.9)),
            tokenizer=BPETokenizerConfig(vocab_size=49_408),
            batch=BatchConfig(size=4096),
            workers=8,
        ),
        train=TrainConfig(
            steps=200_000,
            optimizer=OptimizerConfig(lr=5e-4, weight_decay=0.2, eps=1e-6),
            precision="bf16",
            eval_every=5000,
            best_metric="recall_mean",
        ),
    )


def clip(image: int, text: int, out_dim: int, depth: int, patch: int, side: int) -> ModelConfig:
    """CLIP of some widths (Radford et al. 2021): two towers, each read off into one space; heads are 64 wide."""
    ffn = StandardFeedForwardConfig(activation="quick_gelu")
    pictures = ImageTowerConfig(
        dim=image,
        depth=depth,
        image_size=(side, side),
        patch_size=(patch, patch),
        cls_token=True,
        patch_bias=False,
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
        position=LearnedPositionConfig(),
        attention=SoftmaxAttentionConfig(num_heads=image // 64),
        ffn=ffn,
        entry_norm=True,
    )
    words = TextTowerConfig(
        dim=text,
        depth=depth,
        vocab_size=49_408,
        max_len=77,
        position=LearnedPositionConfig(),
        attention=SoftmaxAttentionConfig(num_heads=text // 64, causal=True),
        ffn=ffn,
    )
    return ModelConfig(
        towers={"image": pictures, "text": words},
        heads={
            "image": EmbeddingHeadConfig(source="image", out_dim=out_dim, pool=FirstPoolConfig()),
            "text": EmbeddingHeadConfig(source="text", out_dim=out_dim, pool=LastPoolConfig()),
            "similarity": SimilarityHeadConfig(),
        },
    )
