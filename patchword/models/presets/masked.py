"""Masked modelling: encoders that learn from data that nobody has labelled."""

from __future__ import annotations

from patchword.config import AugmentConfig, MaskedImageTaskConfig, OptimizerConfig, PatchHeadConfig, RunConfig
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
