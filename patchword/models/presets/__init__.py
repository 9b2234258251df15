"""Named configurations: functions that return a `RunConfig`. A variant of one takes two lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

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

PRESETS: dict[str, Callable[[], RunConfig]] = {
    "captioner-tiny": captioner.tiny,
    "captioner-small": captioner.small,
    "captioner-base": captioner.base,
    "captioner-prefix-small": captioner.prefix_small,
    "layout-single-stream": layouts.single_stream,
    "layout-dual-stream": layouts.dual_stream,
    "layout-merged-attention": layouts.merged_attention,
    "layout-late-fusion": layouts.late_fusion,
    "clip-tiny": retrieval.tiny,
    "clip-small": retrieval.small,
    "clip-base": retrieval.base,
    "siglip-small": retrieval.sigmoid_small,
    "coca-small": retrieval.coca_small,
    "classifier-tiny": classifier.tiny,
    "classifier-small": classifier.small,
    "masked-image-tiny": masked.image_tiny,
    "bert-small": masked.bert_small,
    "vit-tiny": classifier.vit_tiny,
    "vit-small": classifier.vit_small,
    "vit-base": classifier.vit_base,
    "translator-tiny": translation.tiny,
    "translator-small": translation.small,
    "translator-image-tiny": translation.image_tiny,
    "t5-small": translation.t5_small,
    "vqa-tiny": vqa.tiny,
    "vqa-small": vqa.small,
    "vqa-small-bottleneck": vqa.small_bottleneck,
    "vqa-small-joint": vqa.small_joint,
    "gpt-tiny": language.gpt_tiny,
    "gpt-small": language.gpt_small,
    "gpt-medium": language.gpt_medium,
    "gpt-fast": language.gpt_fast,
    "decoder-small": language.decoder_small,
    "vlm-small": vqa.vlm_small,
    "matcher-tiny": vqa.matcher_tiny,
    "matcher-small": vqa.matcher_small,
    "ref/000": published_vqa.digits,
    "ref/000-table": published_vqa.digits_table,
    "ref/001-m1": translation.hkproj,
    "ref/001-m2": translation.article,
    "ref/001-m3": translation.evans,
    "ref/001-m4": published_language.word_language_model,
    "ref/001-m4-video": published_language.video_gpt,
    "ref/001-m5": translation.torch_transformer,
    "ref/001-m6": translation.ajhalthor,
    "ref/001-m7": published_language.tutorial_language_model,
    "ref/001-m8": published_language.colab_gpt,
    "ref/001-bigram": published_language.bigram,
    "ref/001-nanogpt": published_language.nanogpt,
    "ref/001-nanogpt-cpu": published_language.nanogpt_cpu,
    "ref/002": published_vqa.single_stream_says,
    "ref/002-vqa": published_vqa.single_stream,
    "ref/003-base": toolkit.base,
    "ref/003-retrieval": toolkit.retrieval,
    "ref/003-captioning": toolkit.captioning,
    "ref/004-vit-linformer": classifier.published_vit_linformer,
    "ref/004-vit-base": classifier.published_vit_base,
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

_SOURCES = {
    "clip-base": "Radford et al. 2021",
    "masked-image-tiny": "Xie et al. 2022, small",
    "bert-small": "Turc et al. 2019",
    "vit-tiny": "Touvron et al. 2021",
    "vit-small": "Touvron et al. 2021",
    "vit-base": "Dosovitskiy et al. 2020",
    "t5-small": "Raffel et al. 2020",
    "ref/000": "SajeelKA/MultiModalTransformer",
    "ref/000-table": "SajeelKA/MultiModalTransformer",
    "ref/001-m1": "hkproj/pytorch-transformer",
    "ref/001-m2": "an article (Towards Data Science, DataCamp)",
    "ref/001-m3": "SamLynnEvans/Transformer",
    "ref/001-m4": "pytorch/examples word_language_model",
    "ref/001-m4-video": "karpathy/ng-video-lecture",
    "ref/001-m5": "torch.nn.Transformer",
    "ref/001-m6": "ajhalthor/Transformer-Neural-Network",
    "ref/001-m7": "pytorch/tutorials transformer_tutorial",
    "ref/001-m8": "Karpathy's notebook to ng-video-lecture",
    "ref/001-bigram": "karpathy/ng-video-lecture",
    "ref/001-nanogpt": "karpathy/nanoGPT",
    "ref/001-nanogpt-cpu": "karpathy/nanoGPT",
    "gpt-small": "Radford et al. 2019",
    "gpt-medium": "Radford et al. 2019",
    "ref/002-vqa": "a published code listing (system 002)",
    "ref/002": "a published code listing (system 002)",
    "ref/003-base": "llamacity's multi-modal-transformers",
    "ref/003-retrieval": "llamacity's multi-modal-transformers",
    "ref/003-captioning": "llamacity's multi-modal-transformers",
    "ref/004-vit-linformer": "vit-pytorch 0.26.3, linformer 0.2.1",
    "ref/004-vit-base": "Hugging Face ViT",
}
"""Where shapes come from that are not our own."""


def preset(name: str) -> RunConfig:
    """The configuration of that name.

    Raises:
        UserError: there is none; with the nearest spelling.
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise UserError(unknown("preset", name, PRESETS))
    return PRESETS[name]()


def source(name: str) -> str:
    """Where a preset's shape comes from."""
    return _SOURCES.get(name, "patchword")


def summary(name: str) -> str:
    """One line about a preset."""
    return " ".join((PRESETS[name].__doc__ or "").split("\n\n")[0].split())


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
