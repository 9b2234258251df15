"""Weights in from other programs and out to them, by key maps. One file a foreign layout."""

from __future__ import annotations

from patchword.models.convert.bert import BertLayout
from patchword.models.convert.clip import CLIPLayout
from patchword.models.convert.gpt2 import GPT2Layout
from patchword.models.convert.layout import Layout, Read, Written, load, untied
from patchword.models.convert.llama import LlamaLayout
from patchword.models.convert.llava import LlavaLayout
from patchword.models.convert.nanogpt import BigramLayout, ColabGPTLayout, LectureGPTLayout, NanoGPTLayout
from patchword.models.convert.paligemma import PaliGemmaLayout
from patchword.models.convert.siglip import SiglipLayout
from patchword.models.convert.single_stream import SingleStreamLayout
from patchword.models.convert.t5 import T5Layout
from patchword.models.convert.torch_layers import TorchLanguageModelLayout, WordLanguageModelLayout
from patchword.models.convert.translators import AjhalthorLayout, ArticleLayout, EvansLayout, HkprojLayout
from patchword.models.convert.vit import ViTLayout
from patchword.models.convert.vit_linformer import ViTLinformerLayout

__all__ = ["LAYOUTS", "Layout", "Read", "Written", "layout_of", "load", "untied"]

_KINDS: tuple[type[Layout], ...] = (
    ViTLayout,
    GPT2Layout,
    LlamaLayout,
    BertLayout,
    CLIPLayout,
    SiglipLayout,
    LlavaLayout,
    PaliGemmaLayout,
    T5Layout,
    NanoGPTLayout,
    BigramLayout,
    LectureGPTLayout,
    ColabGPTLayout,
    HkprojLayout,
    ArticleLayout,
    EvansLayout,
    AjhalthorLayout,
    TorchLanguageModelLayout,
    WordLanguageModelLayout,
    ViTLinformerLayout,
    SingleStreamLayout,
)
LAYOUTS: dict[str, Layout] = {kind.name: kind() for kind in _KINDS}
"""By name; those that Hugging Face's library reads first."""


def layout_of(model_type: str) -> Layout | None:
    """The layout of folders whose config.json has this `model_type`; None: there is none here."""
    return next((layout for layout in LAYOUTS.values() if model_type in layout.model_types), None)
