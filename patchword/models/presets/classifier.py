"""Classifiers: a picture in, one of some classes out."""

from __future__ import annotations

from patchword.config import (
    AugmentConfig,
    BatchConfig,
    ClassificationTaskConfig,
    ConstantScheduleConfig,
    DataConfig,
    FirstPoolConfig,
    ImageConfig,
    ImageTowerConfig,
    LabelHeadConfig,
    LayerNormConfig,
    LearnedPositionConfig,
    ModelConfig,
    OptimizerConfig,
    ResidualConfig,
    RunConfig,
    SinusoidalPositionConfig,
    SoftmaxAttentionConfig,
    StandardFeedForwardConfig,
    TorchInitConfig,
    TrainConfig,
    TruncatedNormalInitConfig,
    XavierInitConfig,
)
from patchword.models.presets import reference


def tiny() -> RunConfig:
    """A classifier of small pictures (32 x 32) that learns in minutes on two cores: scenes, CIFAR-10, MNIST."""
    image = ImageTowerConfig(
        dim=128,
        depth=4,
        image_size=(32, 32),
        patch_size=(4, 4),
        stem=(32, 64),
        position=SinusoidalPositionConfig(),
        attention=SoftmaxAttentionConfig(num_heads=4),
        ffn=StandardFeedForwardConfig(hidden_dim=256),
    )
    return RunConfig(
        name="classifier-tiny",
        task=ClassificationTaskConfig(),
        model=ModelConfig(
            towers={"image": image}, heads={"label": LabelHeadConfig(source="image")}, init=XavierInitConfig()
        ),
        data=DataConfig(image=ImageConfig(height=32, width=32, augment=AugmentConfig(shift=0.1))),
        train=TrainConfig(steps=2000, optimizer=OptimizerConfig(lr=1e-3), save_every=500, best_metric="accuracy"),
    )


def small() -> RunConfig:
    """A classifier for some thousands of photos (112 x 112), from scratch on a CPU or a small GPU."""
    image = ImageTowerConfig(
        dim=192,
        depth=6,
        image_size=(112, 112),
        patch_size=(16, 16),
        stem=(32, 64, 128),
        position=SinusoidalPositionConfig(),
        attention=SoftmaxAttentionConfig(num_heads=6),
        ffn=StandardFeedForwardConfig(hidden_dim=384),
        residual=ResidualConfig(drop_path=0.1),
    )
    augment = AugmentConfig(crop=0.35, ratio=4 / 3, flip=0.5, brightness=0.2, contrast=0.2, saturation=0.2)
    return RunConfig(
        name="classifier-small",
        task=ClassificationTaskConfig(label_smoothing=0.1),
        model=ModelConfig(
            towers={"image": image}, heads={"label": LabelHeadConfig(source="image")}, init=XavierInitConfig()
        ),
        data=DataConfig(image=ImageConfig(height=112, width=112, cache="memory", augment=augment)),
        train=TrainConfig(
            steps=3130, optimizer=OptimizerConfig(lr=1e-3), eval_every=626, save_every=626, best_metric="accuracy"
        ),
    )


def _vit(dim: int, depth: int, num_heads: int, drop_path: float = 0.0) -> ModelConfig:
    """A vision transformer of 224 x 224 pixels in patches of 16 x 16, as Hugging Face builds it without a pooler."""
    image = ImageTowerConfig(
        dim=dim,
        depth=depth,
        image_size=(224, 224),
        patch_size=(16, 16),
        cls_token=True,
        position=LearnedPositionConfig(),
        attention=SoftmaxAttentionConfig(num_heads=num_heads),
        norm=LayerNormConfig(eps=1e-12),
        residual=ResidualConfig(drop_path=drop_path),
    )
    return ModelConfig(
        towers={"image": image},
        heads={"label": LabelHeadConfig(source="image", pool=FirstPoolConfig())},
        init=TruncatedNormalInitConfig(),
    )


def _run(name: str, model: ModelConfig) -> RunConfig:
    """From scratch on a GPU, with the strong augmentation that vision transformers need."""
    augment = AugmentConfig(crop=0.2, ratio=4 / 3, flip=0.5, brightness=0.3, contrast=0.3, saturation=0.3)
    return RunConfig(
        name=name,
        task=ClassificationTaskConfig(label_smoothing=0.1),
        model=model,
        data=DataConfig(
            image=ImageConfig(height=224, width=224, augment=augment), batch=BatchConfig(size=256), workers=8
        ),
        train=TrainConfig(
            steps=100_000,
            optimizer=OptimizerConfig(lr=5e-4),
            precision="bf16",
            compile=True,
            eval_every=5000,
            best_metric="accuracy",
        ),
    )


def vit_tiny() -> RunConfig:
    """The smallest vision transformer of the literature: width 192, 12 layers, 3 heads."""
    return _run("vit-tiny", _vit(192, 12, 3))


def vit_small() -> RunConfig:
    """A small vision transformer: width 384, 12 layers, 6 heads."""
    return _run("vit-small", _vit(384, 12, 6, drop_path=0.1))


def vit_base() -> RunConfig:
    """The vision transformer of Dosovitskiy et al.: width 768, 12 layers, 12 heads."""
    return _run("vit-base", _vit(768, 12, 12, drop_path=0.1))


def published_vit_linformer() -> RunConfig:
    """Cats or dogs with Linformer attention: the model and the recipe as published (10 epochs, constant rate)."""
    model = reference.vit_linformer()
    image = model.towers["image"]
    assert isinstance(image, ImageTowerConfig)
    unscaled = image.replace(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))  # the original leaves pixels in 0..1
    adam = OptimizerConfig(lr=3e-5, betas=(0.9, 0.999), weight_decay=0.0)
    return RunConfig(
        name="ref-004-vit-linformer",
        task=ClassificationTaskConfig(),
        model=model.replace(towers={"image": unscaled}, init=TorchInitConfig()),
        data=DataConfig(
            image=ImageConfig(
                height=224, width=224, resize="stretch", augment=AugmentConfig(crop=0.08, ratio=4 / 3, flip=0.5)
            )
        ),
        train=TrainConfig(
            steps=3130, optimizer=adam, schedule=ConstantScheduleConfig(warmup=0), clip=None, eval_every=313
        ),
    )


def published_vit_base() -> RunConfig:
    """The vision transformer whose eight classes system 004 documents, two classes, no regularisation."""
    model = _vit(768, 12, 12)
    image = model.towers["image"].replace(position=LearnedPositionConfig(zero_start=True))  # as its cls token does
    return _run("ref-004-vit-base", model.replace(towers={"image": image})).replace(task=ClassificationTaskConfig())
