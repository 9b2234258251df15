"""In, out and in again is the same to the bit; what is written is read by Hugging Face's own `from_pretrained`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from foreign import apart, ids, ours, read, silent, theirs, transformers
from parity_decoders import DECODERS
from parity_encoders import STATISTICS, bert_config, clip_config, pictures, siglip_config, t5_config, vit_config
from parity_pictured import llava_config, paligemma_config

from patchword.config import CrossFusionConfig, ModelConfig, UserError
from patchword.models.convert import LAYOUTS, untied
from patchword.models.create import create_model
from patchword.training.convert import convert

WRITTEN: dict[str, tuple[str, str, Any]] = {
    **{name: DECODERS[name] for name in DECODERS},
    "ViT": ("vit", "ViTForImageClassification", vit_config),
    "ViT without head": ("vit", "ViTModel", vit_config),
    "BERT": ("bert", "BertForMaskedLM", bert_config),
    "BERT, classes": ("bert", "BertForSequenceClassification", bert_config),
    "BERT without head": ("bert", "BertModel", bert_config),
    "T5": ("t5", "T5ForConditionalGeneration", t5_config),
    "T5, gated": ("t5", "T5ForConditionalGeneration", lambda: t5_config(feed_forward_proj="gated-gelu")),
    "CLIP": ("clip", "CLIPModel", clip_config),
    "SigLIP": ("siglip", "SiglipModel", siglip_config),
    "LLaVA": ("llava", "LlavaForConditionalGeneration", llava_config),
    "PaliGemma": ("paligemma", "PaliGemmaForConditionalGeneration", paligemma_config),
}


def more(layout: str) -> dict[str, Any]:
    return STATISTICS if layout in ("vit", "clip", "siglip", "llava", "paligemma") else {}


@pytest.mark.parametrize("name", WRITTEN)
def test_in_out_and_in_again(name: str) -> None:
    kind, model, config = WRITTEN[name]
    layout, found, _ = read(kind, theirs(model, config()), more(kind))
    written = layout.write(found.config, found.weights, found.kept)
    settings = {key: value for data in written.files.values() for key, value in data.items()}
    again = layout.read(settings, written.weights)
    assert again.weights.keys() == found.weights.keys()
    assert all(torch.equal(again.weights[key], tensor) for key, tensor in found.weights.items())
    assert again.kept == found.kept
    assert layout.write(again.config, again.weights, again.kept).files == written.files


@pytest.mark.parametrize("name", ["GPT-2", "Llama", "Llama, yarn", "Mistral", "Qwen2", "Qwen3", "ViT", "BERT"])
@torch.no_grad()
def test_from_pretrained_reads_what_is_written(name: str, tmp_path: Path) -> None:
    """Their folder in, our folder, their folder out: their library reads it, and it says the same."""
    kind, model, config = WRITTEN[name]
    reference = theirs(model, config()).float()
    silent(lambda: reference.save_pretrained(tmp_path / "theirs"))
    done = convert(tmp_path / "theirs", tmp_path / "ours")
    assert (done.layout, done.written, done.left_out) == (kind, False, {})
    assert done.parameters == sum(p.numel() for p in reference.parameters()) - (24 * 2 if name == "BERT" else 0)
    assert convert(tmp_path / "ours", tmp_path / "back").written
    cls = getattr(transformers, model)
    again, report = silent(lambda: cls.from_pretrained(tmp_path / "back", output_loading_info=True))
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    given = {"pixel_values": pictures(24, 16)[1].float()} if kind == "vit" else {"input_ids": ids()}
    assert apart(again.eval()(**given).logits, reference(**given).logits) < 1e-5
    mine = create_model(tmp_path / "ours").eval()
    if kind != "vit":
        assert apart(mine({"text": ids()}).heads["text"], reference(input_ids=ids()).logits) < 1e-4
    twice = create_model(tmp_path / "ours")
    assert all(torch.equal(a, b) for a, b in zip(twice.state_dict().values(), mine.state_dict().values(), strict=True))


@pytest.mark.parametrize("name", ["T5", "T5, gated"])
@torch.no_grad()
def test_from_pretrained_reads_a_written_t5(name: str, tmp_path: Path) -> None:
    kind, model, config = WRITTEN[name]
    reference = theirs(model, config()).float()
    silent(lambda: reference.save_pretrained(tmp_path / "theirs"))
    convert(tmp_path / "theirs", tmp_path / "ours")
    assert convert(tmp_path / "ours", tmp_path / "back").layout == kind
    cls = getattr(transformers, model)
    again, report = silent(lambda: cls.from_pretrained(tmp_path / "back", output_loading_info=True))
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    given = {"input_ids": ids(), "decoder_input_ids": ids()}
    assert apart(again.eval()(**given).logits, reference(**given).logits) < 1e-5


def test_a_model_that_has_more_than_a_layout_is_refused() -> None:
    layout, found, model = read("gpt2", theirs("GPT2LMHeadModel", DECODERS["GPT-2"][2]()))
    text = found.config.towers["text"]
    assert text.attention is not None
    windowed = found.config.replace(towers={"text": text.replace(attention=text.attention.replace(window=3))})
    with pytest.raises(UserError, match=r"lacks towers\.text\.attention\.window"):
        layout.write(windowed, dict(untied(model)))
    grown = text.replace(residual=text.residual.replace(layer_scale=0.1))
    with pytest.raises(UserError, match="left over"):
        layout.write(found.config.replace(towers={"text": grown}), dict(untied(grown_model(found.config, grown))))
    with pytest.raises(UserError, match="can be read, but not written"):
        LAYOUTS["nanogpt"].write(found.config, found.weights)
    crossed = read("t5", theirs("T5ForConditionalGeneration", t5_config()))[1].config
    assert isinstance(crossed.fusion, CrossFusionConfig)
    with pytest.raises(UserError, match="cannot be written in the layout gpt2"):
        layout.write(crossed, {})


def grown_model(config: ModelConfig, text: Any) -> Any:
    return config.replace(towers={"text": text}).build()


def test_half_precision_is_widened(tmp_path: Path) -> None:
    reference = theirs("LlamaForCausalLM", DECODERS["Llama"][2]()).bfloat16()
    silent(lambda: reference.save_pretrained(tmp_path / "theirs"))
    convert(tmp_path / "theirs", tmp_path / "ours")
    table = create_model(tmp_path / "ours").state_dict()["towers.text.embedding.table.weight"]
    assert table.dtype == torch.float32
    assert torch.equal(table, reference.state_dict()["model.embed_tokens.weight"].float())


def test_shards_are_read(tmp_path: Path) -> None:
    reference = theirs("GPT2LMHeadModel", DECODERS["GPT-2"][2]()).float()
    silent(lambda: reference.save_pretrained(tmp_path / "theirs", max_shard_size="20KB"))
    assert (tmp_path / "theirs" / "model.safetensors.index.json").is_file()
    convert(tmp_path / "theirs", tmp_path / "ours")
    whole = ours(read("gpt2", reference)[1])
    got = create_model(tmp_path / "ours").double().state_dict()
    assert all(torch.equal(got[name], tensor) for name, tensor in whole.state_dict().items())
