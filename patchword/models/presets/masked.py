"""Masked modelling: encoders that learn from data that nobody has labelled."""

from __future__ import annotations

from patchword.config import (
    AugmentConfig,
    BatchConfig,
    DataConfig,
    LanguageHeadConfig,
    LayerNormConfig,
    LearnedPositionConfig,
    MaskedImageTaskConfig,
    MaskedLanguageTaskConfig,
    ModelConfig,
    OptimizerConfig,
    PatchHeadConfig,
    ResidualConfig,
    RunConfig,
    SoftmaxAttentionConfig,
    TextTowerConfig,
    TrainConfig,
    WordPieceTokenizerConfig,
)
from patchword.models.presets import classifier


def image_tiny() -> RunConfig:
    """The tower of classifier-tiny learns to see hidden patches of small pictures; a classifier then starts from it."""
    run = classifier.tiny()
    image = run.model.towers["image"]
    pictures = run.data.image.replace(augment=AugmentConfig(flip=0.5))
    return run.replace(
        name="masked-image-tiny",
        task=MaskedImageTaskConfig(),
        model=run.model.replace(
            towers={"image": type(image).from_dict(image.to_dict() | {"mask_token": True})},
            heads={"pixels": PatchHeadConfig()},
        ),
        data=run.data.replace(image=pictures),
        train=run.train.replace(optimizer=OptimizerConfig(lr=1e-3), best_metric="loss"),
    )


def bert_small() -> RunConfig:
    """BERT-small with its head for masked words (4 layers, 512 wide); for texts of your own, on a GPU."""
    norm = LayerNormConfig(eps=1e-12)
    text = TextTowerConfig(
        dim=512,
        depth=4,
        vocab_size=30_522,
        max_len=512,
        position=LearnedPositionConfig(),
        attention=SoftmaxAttentionConfig(num_heads=8),
        norm=norm,
        residual=ResidualConfig(placement="post"),
        entry_norm=True,
        final_norm=False,
    )
    head = LanguageHeadConfig(source="text", bias=True, transform="gelu", norm=norm)
    return RunConfig(
        name="bert-small",
        task=MaskedLanguageTaskConfig(),
        model=ModelConfig(towers={"text": text}, heads={"text": head}),
        data=DataConfig(tokenizer=WordPieceTokenizerConfig(vocab_size=30_522), batch=BatchConfig(size=128)),
        train=TrainConfig(steps=100_000, optimizer=OptimizerConfig(lr=5e-4), precision="bf16", eval_every=5000),
    )
