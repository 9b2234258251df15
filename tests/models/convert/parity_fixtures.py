"""How far our models are from the reference fixtures: scores, hidden states, loss, and gradients by their names."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from foreign import apart
from safetensors.torch import load_file
from torch import Tensor
from torch.func import functional_call

from patchword.config import ResidualConfig, SoftmaxAttentionConfig, StackConfig, StandardFeedForwardConfig
from patchword.models.convert import LAYOUTS, Layout
from patchword.models.convert.keymap import renamed, to_ours
from patchword.models.convert.reorder import order
from patchword.models.convert.torch_layers import transformer
from patchword.models.model import Model, tied_names
from patchword.models.output import ModelOutput
from patchword.nn import Stack
from patchword.sequence import SequenceInfo, TextInput, Tokens


class Fixture(NamedTuple):
    """One file of numbers."""

    settings: dict[str, Any]
    """Its configuration."""
    weights: dict[str, Tensor]
    """By their names."""
    given: dict[str, Tensor]
    """Inputs."""
    want: dict[str, Tensor]
    """Outputs."""
    gradients: dict[str, Tensor]
    """Of the loss, by their names."""


def fixture(shared: Path, name: str) -> Fixture:
    """The fixture of that name; skips where it is absent."""
    path = shared / "reference" / "fixtures" / f"{name}.safetensors"
    if not path.is_file():
        pytest.skip(f"needs ../shared/reference/fixtures/{name}.safetensors")
    groups: dict[str, dict[str, Tensor]] = {"sd": {}, "in": {}, "out": {}, "grad": {}}
    for key, tensor in load_file(path).items():
        group, _, rest = key.partition("/")
        groups[group][rest] = tensor
    about = json.loads(path.with_suffix(".json").read_text())
    return Fixture(about["config"], groups["sd"], groups["in"], groups["out"], groups["grad"])


class Run(NamedTuple):
    """Our model on a fixture's input."""

    out: ModelOutput
    """What it gives."""
    gradient: Callable[[Tensor], dict[str, Tensor]]
    """A loss's gradients by their names."""


def run(layout: Layout, f: Fixture, inputs: Mapping[str, Any], settings: Mapping[str, Any] | None = None) -> Run:
    """Our model with their weights behind the key map, so that gradients come out under their names."""
    leaves = {name: t.clone().requires_grad_(t.is_floating_point()) for name, t in f.weights.items()}
    found = layout.read(f.settings | dict(settings or {}), leaves)
    model: Model = found.config.build().eval()
    tied = {second: found.weights[first] for second, first in tied_names(model).items()}
    out = functional_call(model, found.weights | tied, (inputs,))

    def gradient(loss: Tensor) -> dict[str, Tensor]:
        wanted = {name: leaves[name] for name in f.gradients}
        return dict(zip(wanted, torch.autograd.grad(loss, list(wanted.values())), strict=True))

    return Run(out, gradient)


def judged(f: Fixture, ran: Run, loss: Tensor, pairs: dict[str, float]) -> dict[str, float]:
    """Differences, those of the loss and of its gradients (relative to the largest of each) among them."""
    pairs = pairs | {"loss": apart(loss, f.want["loss"])}
    if f.gradients:
        got = ran.gradient(loss)
        pairs["gradients (relative)"] = max(
            apart(got[name], want) / want.abs().max().item() for name, want in f.gradients.items()
        )
    return pairs


# ------------------------------------------------------------------ decoders


def decoder(shared: Path, name: str, layout: str) -> dict[str, float]:
    """Language models of `idx` and `targets`."""
    f = fixture(shared, name)
    if layout == "nanogpt":  # a checkpoint's own words
        f = f._replace(settings=f.settings | {"vocab_size": f.settings["vocab"], "block_size": f.settings["block"]})
    ran = run(LAYOUTS[layout], f, {"text": f.given["idx"]})
    scores = ran.out.heads["text"]
    loss = F.cross_entropy(scores.flatten(0, 1), f.given["targets"].flatten())
    pairs = {"scores": apart(scores, f.want["logits"])}
    if "logits_T8" in f.want:
        short = run(LAYOUTS[layout], f, {"text": f.given["idx"][:, :8]}).out.heads["text"]
        pairs["scores of 8 tokens"] = apart(short, f.want["logits_T8"])
    return judged(f, ran, loss, pairs)


def wikitext(shared: Path) -> dict[str, float]:
    f = fixture(shared, "s001_m7_wikitext2")
    ran = run(LAYOUTS["torch-language-model"], f, {"text": f.given["src"].T})
    scores = ran.out.heads["text"].transpose(0, 1)
    loss = F.cross_entropy(scores.flatten(0, 1), f.given["targets"])
    return judged(f, ran, loss, {"scores": apart(scores, f.want["logits"])})


# ------------------------------------------------------------------ encoder and decoder


def hkproj(shared: Path) -> dict[str, float]:
    f = fixture(shared, "s001_m1_hkproj")
    source = TextInput(f.given["src"], f.given["src_mask"][:, 0, 0] > 0)
    target = TextInput(f.given["tgt"], f.given["tgt_mask"][:, 0, -1] > 0)
    ran = run(LAYOUTS["hkproj-transformer"], f, {"source": source, "target": target})
    scores, back = ran.out.heads["text"], order(32).argsort()
    loss = F.cross_entropy(scores.flatten(0, 1), f.given["labels"].flatten(), ignore_index=1, label_smoothing=0.1)
    assert ran.out.trunk is not None
    pairs = {
        "scores": apart(scores, f.want["logits"], target.valid),
        "encoder": apart(ran.out.towers["source"].x[..., back], f.want["enc"], source.valid),
        "decoder": apart(ran.out.trunk.x[..., back], f.want["dec"], target.valid),
    }
    return judged(f, ran, loss, pairs)


def shifted(shared: Path, name: str, layout: str, pad: int) -> dict[str, float]:
    """Translators that learn `tgt[:, 1:]` from `tgt[:, :-1]`; scores at padding are not compared."""
    f = fixture(shared, name)
    src, tgt = f.given["src"], f.given["tgt"]
    target = TextInput(tgt[:, :-1], tgt[:, :-1] != pad)
    ran = run(LAYOUTS[layout], f, {"source": TextInput(src, src != pad), "target": target})
    scores = ran.out.heads["text"]
    loss = F.cross_entropy(scores.flatten(0, 1), tgt[:, 1:].flatten(), ignore_index=pad)
    return judged(f, ran, loss, {"scores": apart(scores, f.want["logits"], target.valid)})


def ajhalthor(shared: Path) -> dict[str, float]:
    f = fixture(shared, "s001_m6_ajhalthor")
    source = TextInput(f.given["src_ids"], f.given["enc_mask"][:, 0] == 0)
    valid = f.given["dec_self_mask"].diagonal(dim1=1, dim2=2) == 0
    ran = run(LAYOUTS["ajhalthor-transformer"], f, {"source": source, "target": TextInput(f.given["tgt_ids"], valid)})
    scores = ran.out.heads["text"]
    loss = F.cross_entropy(scores.flatten(0, 1), f.given["labels"].flatten(), ignore_index=11)
    return judged(f, ran, loss, {"scores": apart(scores, f.want["logits"], valid)})


@torch.no_grad()
def torch_transformer(shared: Path, placement: Any) -> dict[str, float]:
    """The bare core: two stacks, no tables and no head."""
    f = fixture(shared, f"s001_m5_nn_transformer_{placement}norm")
    dim, depth, heads = (f.settings[name] for name in ("d_model", "num_encoder_layers", "nhead"))
    own = SoftmaxAttentionConfig(num_heads=heads)
    shape = StackConfig(
        dim=dim,
        depth=depth,
        attention=own,
        ffn=StandardFeedForwardConfig(hidden_dim=f.settings["dim_feedforward"], activation="relu"),
        residual=ResidualConfig(placement=placement),
    )
    looking = shape.replace(attention=own.replace(causal=True), cross_attention=own)
    both = torch.nn.ModuleDict({"encoder": Stack(shape), "decoder": Stack(looking)})
    both.load_state_dict(to_ours(transformer(depth, "encoder", "decoder"), f.weights))
    source = Tokens(f.given["src"].transpose(0, 1), SequenceInfo(valid=~f.given["src_key_padding_mask"]))
    memory = Tokens(both["encoder"](source), source.info)
    out = both["decoder"](Tokens(f.given["tgt"].transpose(0, 1)), memory)
    return {"decoder": apart(out.transpose(0, 1), f.want["out"])}


# ------------------------------------------------------------------ pictures


def vit(shared: Path, legacy: bool) -> dict[str, float]:
    """Their config gives names of its own to sizes; pixels come as their processor gives them."""
    f = fixture(shared, "s004_hf_vit")
    if legacy:
        names = json.loads((shared / "reference" / "fixtures" / "s004_hf_vit_legacy_names.json").read_text())
        f = f._replace(weights=renamed_by(f.weights, names), gradients=renamed_by(f.gradients, names))
    sizes = {"num_hidden_layers": f.settings["layers"], "num_attention_heads": f.settings["heads"]}
    plain = {"image_mean": [0.0] * 3, "image_std": [1.0] * 3}
    ran = run(LAYOUTS["vit"], f, {"image": f.given["pixel_values"]}, sizes | plain)
    scores = ran.out.heads["label"]
    loss = F.cross_entropy(scores, f.given["targets"])
    pairs = {"scores": apart(scores, f.want["logits"])}
    if not legacy:
        pairs |= _inside(f, sizes | plain)
    return judged(f, ran, loss, pairs)


def renamed_by(tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """The same under other names."""
    rules = [(rf"^{new}$".replace(".", r"\."), old) for new, old in names.items() if new in tensors]
    return renamed(tensors, rules)


@torch.no_grad()
def _inside(f: Fixture, settings: Mapping[str, Any]) -> dict[str, float]:
    """States between blocks (theirs: before the last norm), and who looks at whom."""
    found = LAYOUTS["vit"].read(f.settings | dict(settings), f.weights)
    model: Model = found.config.build().eval()
    model.load_state_dict(found.weights)
    stack: Any = model.towers["image"].stack
    tokens = model.towers["image"].embedding(f.given["pixel_values"])  # pyright: ignore[reportCallIssue]
    view = stack.view(tokens)
    x = stack.position.add(tokens.x, view.mask.queries)
    states, looks = [apart(x, f.want["hidden_0"])], []
    for i, block in enumerate(stack.blocks):
        looks.append(apart(block.self_attn.step.weights(block.self_attn.given(x), view), f.want[f"attn_{i}"]))
        x = block(x, view)
        last = i + 1 == len(stack.blocks)
        want = f.want[f"hidden_{i + 1}"]
        states.append(min(apart(x, want), apart(stack.norm(x), want)) if last else apart(x, want))
    return {"hidden states": max(states), "attention": max(looks)}


def vit_linformer(shared: Path, name: str) -> dict[str, float]:
    f = fixture(shared, name)
    ran = run(LAYOUTS["vit-linformer"], f, {"image": f.given["img"]})
    scores = ran.out.heads["label"]
    loss = F.cross_entropy(scores, f.given["targets"])
    return judged(f, ran, loss, {"scores": apart(scores, f.want["logits"])})


def single_stream(shared: Path) -> dict[str, float]:
    """Their hidden states stand before the norm of their head, which is our trunk's last one; words are not given."""
    f = fixture(shared, "s002_fixed_rgb")
    text = f.given["text"]
    ran = run(LAYOUTS["single-stream"], f, {"text": text, "image": f.given["images"]})
    scores, hidden = ran.out.heads["label"], f.want["hidden"][:, text.shape[1] :]
    norm = (f.weights[f"text_generation_head.0.{part}"] for part in ("weight", "bias"))
    assert ran.out.trunk is not None
    pairs = {
        "scores": apart(scores, f.want["logits"]),
        "hidden states": apart(ran.out.trunk.x, F.layer_norm(hidden, hidden.shape[-1:], *norm)),
    }
    return judged(f, ran, F.cross_entropy(scores, f.given["targets"]), pairs)


FIXTURES: dict[str, tuple[str, Callable[[Path], dict[str, float]]]] = {
    "s001_m1_hkproj": ("hkproj-transformer", hkproj),
    "s001_m2_article": (
        "article-transformer",
        lambda s: shifted(s, "s001_m2_article", "article-transformer", 0),
    ),
    "s001_m3_samlynnevans": (
        "samlynnevans-transformer",
        lambda s: shifted(s, "s001_m3_samlynnevans", "samlynnevans-transformer", 1),
    ),
    "s001_m4_bigram": ("bigram", lambda s: decoder(s, "s001_m4_bigram", "bigram")),
    "s001_m4_ngvideo_gpt": ("lecture-gpt", lambda s: decoder(s, "s001_m4_ngvideo_gpt", "lecture-gpt")),
    "s001_m5_nn_transformer_postnorm": ("torch's nn.Transformer", lambda s: torch_transformer(s, "post")),
    "s001_m5_nn_transformer_prenorm": ("torch's nn.Transformer", lambda s: torch_transformer(s, "pre")),
    "s001_m6_ajhalthor": ("ajhalthor-transformer", ajhalthor),
    "s001_m7_wikitext2": ("torch-language-model", wikitext),
    "s001_m8_colab_gpt": ("colab-gpt", lambda s: decoder(s, "s001_m8_colab_gpt", "colab-gpt")),
    "s001_nanogpt_bias0": ("nanogpt", lambda s: decoder(s, "s001_nanogpt_bias0", "nanogpt")),
    "s001_nanogpt_bias1": ("nanogpt", lambda s: decoder(s, "s001_nanogpt_bias1", "nanogpt")),
    "s002_fixed_rgb": ("single-stream", single_stream),
    "s004_hf_vit": ("vit, names of 5.x", lambda s: vit(s, legacy=False)),
    "s004_hf_vit, legacy names": ("vit, names of 4.x", lambda s: vit(s, legacy=True)),
    "s004_vit_linformer_0263": ("vit-linformer", lambda s: vit_linformer(s, "s004_vit_linformer_0263")),
    "s004_vit_linformer_current": ("vit-linformer", lambda s: vit_linformer(s, "s004_vit_linformer_current")),
}
"""By name: the layout, and what measures it."""
