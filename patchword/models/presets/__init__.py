"""Named configurations: functions that return a `RunConfig`. A variant of one takes two lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from patchword.config import ModelConfig, RunConfig, UserError, override, unknown
from patchword.models.presets import (
    captioner,
    classifier,
    language,
    layouts,
    masked,
    published_language,
    published_vqa,
    reference,
    retrieval,
    toolkit,
    translation,
    vqa,
)
from patchword.models.presets.files import configuration_file, read_run


class Preset(NamedTuple):
    """A named configuration."""

    make: Callable[[], RunConfig]
    """Makes it; the first line of its docstring says what it is."""
    source: str = "patchword"
    """Where its shape comes from."""


PRESETS: dict[str, Preset] = {
    "captioner-tiny": Preset(captioner.tiny),
    "captioner-small": Preset(captioner.small),
    "captioner-base": Preset(captioner.base),
    "captioner-prefix-small": Preset(captioner.prefix_small),
    "layout-single-stream": Preset(layouts.single_stream),
    "layout-dual-stream": Preset(layouts.dual_stream),
    "layout-merged-attention": Preset(layouts.merged_attention),
    "layout-late-fusion": Preset(layouts.late_fusion),
    "clip-tiny": Preset(retrieval.tiny),
    "clip-small": Preset(retrieval.small),
    "clip-base": Preset(retrieval.base, "Radford et al. 2021"),
    "siglip-small": Preset(retrieval.sigmoid_small),
    "coca-small": Preset(retrieval.coca_small),
    "classifier-tiny": Preset(classifier.tiny),
    "classifier-small": Preset(classifier.small),
    "masked-image-tiny": Preset(masked.image_tiny, "Xie et al. 2022, small"),
    "bert-small": Preset(masked.bert_small, "Turc et al. 2019"),
    "vit-tiny": Preset(classifier.vit_tiny, "Touvron et al. 2021"),
    "vit-small": Preset(classifier.vit_small, "Touvron et al. 2021"),
    "vit-base": Preset(classifier.vit_base, "Dosovitskiy et al. 2020"),
    "translator-tiny": Preset(translation.tiny),
    "translator-small": Preset(translation.small),
    "translator-image-tiny": Preset(translation.image_tiny),
    "t5-small": Preset(translation.t5_small, "Raffel et al. 2020"),
    "vqa-tiny": Preset(vqa.tiny),
    "vqa-small": Preset(vqa.small),
    "vqa-small-bottleneck": Preset(vqa.small_bottleneck),
    "vqa-small-joint": Preset(vqa.small_joint),
    "gpt-tiny": Preset(language.gpt_tiny),
    "gpt-small": Preset(language.gpt_small, "Radford et al. 2019"),
    "gpt-medium": Preset(language.gpt_medium, "Radford et al. 2019"),
    "gpt-fast": Preset(language.gpt_fast),
    "decoder-small": Preset(language.decoder_small),
    "vlm-small": Preset(vqa.vlm_small),
    "matcher-tiny": Preset(vqa.matcher_tiny),
    "matcher-small": Preset(vqa.matcher_small),
    "ref/000": Preset(published_vqa.digits, "SajeelKA/MultiModalTransformer"),
    "ref/000-table": Preset(published_vqa.digits_table, "SajeelKA/MultiModalTransformer"),
    "ref/001-m1": Preset(translation.hkproj, "hkproj/pytorch-transformer"),
    "ref/001-m2": Preset(translation.article, "an article (Towards Data Science, DataCamp)"),
    "ref/001-m3": Preset(translation.evans, "SamLynnEvans/Transformer"),
    "ref/001-m4": Preset(published_language.word_language_model, "pytorch/examples word_language_model"),
    "ref/001-m4-video": Preset(published_language.video_gpt, "karpathy/ng-video-lecture"),
    "ref/001-m5": Preset(translation.torch_transformer, "torch.nn.Transformer"),
    "ref/001-m6": Preset(translation.ajhalthor, "ajhalthor/Transformer-Neural-Network"),
    "ref/001-m7": Preset(published_language.tutorial_language_model, "pytorch/tutorials transformer_tutorial"),
    "ref/001-m8": Preset(published_language.colab_gpt, "Karpathy's notebook to ng-video-lecture"),
    "ref/001-bigram": Preset(published_language.bigram, "karpathy/ng-video-lecture"),
    "ref/001-nanogpt": Preset(published_language.nanogpt, "karpathy/nanoGPT"),
    "ref/001-nanogpt-cpu": Preset(published_language.nanogpt_cpu, "karpathy/nanoGPT"),
    "ref/002": Preset(published_vqa.single_stream_says, "a published code listing (system 002)"),
    "ref/002-vqa": Preset(published_vqa.single_stream, "a published code listing (system 002)"),
    "ref/003-base": Preset(toolkit.base, "llamacity's multi-modal-transformers"),
    "ref/003-retrieval": Preset(toolkit.retrieval, "llamacity's multi-modal-transformers"),
    "ref/003-captioning": Preset(toolkit.captioning, "llamacity's multi-modal-transformers"),
    "ref/004-vit-linformer": Preset(classifier.published_vit_linformer, "vit-pytorch 0.26.3, linformer 0.2.1"),
    "ref/004-vit-base": Preset(classifier.published_vit_base, "Hugging Face ViT"),
}

PUBLISHED: dict[str, Callable[[], ModelConfig]] = {
    "ref/000-table": reference.digits_table,
    "ref/001-m8": lambda: published_language.colab_gpt().model,
    "ref/001-nanogpt-cpu": lambda: published_language.nanogpt_cpu().model,
    "ref/004-vit-linformer": reference.vit_linformer,
    "gpt-small": language.gpt_model,
    "gpt-medium": lambda: language.gpt_medium().model,
}
"""Models about whose size something was published: `patchword size NAME --formula published` compares."""


def preset(name: str) -> RunConfig:
    """The configuration of that name.

    Raises:
        UserError: there is none; with the nearest spelling.
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise UserError(unknown("preset", name, PRESETS))
    return PRESETS[name].make()


def source(name: str) -> str:
    """Where a preset's shape comes from."""
    return PRESETS[name].source


def summary(name: str) -> str:
    """One line about a preset."""
    return " ".join((PRESETS[name].make.__doc__ or "").split("\n\n")[0].split())


def load_config(
    spec: str | Path | Mapping[str, Any] | RunConfig, changes: Mapping[str, Any] | None = None
) -> RunConfig:
    """A configuration from a preset's name, a file, plain data or itself, with dotted changes over it.

    A file or mapping may name a `preset` and hold only what differs from it. A path that is not there may be one of the
    files that come with the package (`configs/...`).

    Raises:
        UserError: naming everything that is wrong.
    """
    source = "configuration"
    if isinstance(spec, RunConfig):
        config = spec
    elif isinstance(spec, Mapping):
        config = _from_data(dict(spec), source)
    elif str(spec) in PRESETS:
        source = f"preset {spec}"
        config = preset(str(spec))
    elif Path(spec).is_dir():
        inside = Path(spec) / "config.yaml"
        hint = f"that run's is {inside}" if inside.is_file() else f"data is named by data.source={spec}"
        raise UserError(f"{spec} is a folder, not a preset ({', '.join(PRESETS)}) or a .yaml or .json file; {hint}")
    elif (file := configuration_file(spec)) is not None:
        source = str(spec)
        config = _from_data(read_run(file, source), source)
    else:
        raise UserError(unknown("preset", str(spec), PRESETS) + "; or name a .yaml or .json file")
    return override(config, changes, f"{source} with overrides") if changes else config


def _from_data(data: dict[str, Any], source: str) -> RunConfig:
    if "preset" not in data:
        return RunConfig.from_dict(data, source)
    return override(preset(data.pop("preset")), data, source)
