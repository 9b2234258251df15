"""`convert`: a model of another program as a folder of ours, or one of ours as another program reads it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import save_file

from patchword.config import RunError, TextTowerConfig, UserError, unknown
from patchword.models.convert import LAYOUTS, Layout, Written, layout_of, load, untied
from patchword.models.convert.renumbered import tokenizer_files
from patchword.models.convert.source import dumped, model_type, read_source
from patchword.models.folder import FORMAT, SETTINGS, WEIGHTS, model_folder, read_model, settings_of
from patchword.models.model import Model, count_parameters
from patchword.models.weights import save_weights
from patchword.training.files import whole_folder


class Converted(NamedTuple):
    """What was written."""

    out: Path
    """The folder."""
    layout: str
    """The foreign layout that was read or written."""
    written: bool
    """Whether the foreign one was written, else read."""
    parameters: int
    """Numbers of our model."""
    left_out: dict[str, str]
    """Tensors of theirs that have no part of ours, and what they are."""
    notes: tuple[str, ...] = ()
    """What who uses it there has to know."""
    renumbered: Mapping[int, int] = {}
    """Token ids that are others there, both ways."""


def convert(source: str | Path, out: str | Path, to: str | None = None) -> Converted:
    """Turn a model of another program into a folder that `create_model` reads, or one of ours into one of theirs.

    Args:
        source: a Hugging Face folder or a checkpoint file; or a run, or a folder that `convert` wrote.
        out: a new folder.
        to: the layout to write, where `source` is of ours; None: the one it came from, or the first that has all parts.

    Raises:
        UserError: the source is wrong, cannot be expressed, or `out` is there already.
        RunError: the disk is full, or not writable.
    """
    source, out = Path(source), Path(out)
    if to is not None and to not in LAYOUTS:
        raise UserError(unknown("layout", to, [name for name, layout in LAYOUTS.items() if layout.writes]))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already: name a new folder")
    folder = model_folder(source)
    try:
        if folder is not None:
            return _written(folder, out, to)
        if to is not None:
            raise UserError(f"{source} is no model of patchword's: only those can be written in the layout {to}")
        return _read(source, out)
    except OSError as error:
        raise RunError(f"cannot write {out}: {error}") from error


def _read(source: Path, out: Path) -> Converted:
    given = read_source(source)
    known = [name for layout in LAYOUTS.values() for name in layout.model_types]
    layout = layout_of(model_type(given.settings, known, source))
    assert layout is not None
    try:
        found = layout.read(given.settings, given.weights)
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
    model: Model = found.config.build()
    load(model, found.weights)
    about = {"layout": layout.name, "left_out": found.left_out, "kept": found.kept}
    with whole_folder(out) as folder:
        save_weights(model, folder / WEIGHTS)
        facts = {"format": FORMAT, "model": found.config.to_dict(), "converted": about}
        (folder / SETTINGS).write_text(dumped(facts), encoding="utf-8")
    return Converted(out, layout.name, False, count_parameters(model), found.left_out)


def _written(source: Path, out: Path, to: str | None) -> Converted:
    model, facts = read_model(source, {}), settings_of(source)[1]
    about = facts.get("converted")
    layout, written = _in_some_layout(model, to, about if isinstance(about, dict) else {})
    files, notes = dict(written.files), written.notes
    if written.renumbered:
        beside = _tokenizer(source, model, written.renumbered)
        files, notes = files | beside, (*notes, _order(written.renumbered, source, bool(beside)))
    with whole_folder(out) as folder:
        tensors = {name: tensor.contiguous().clone() for name, tensor in written.weights.items()}
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        for name, data in files.items():
            (folder / name).write_text(dumped(data), encoding="utf-8")
    return Converted(out, layout.name, True, count_parameters(model), {}, notes, written.renumbered)


def _tokenizer(source: Path, model: Model, ids: Mapping[int, int]) -> dict[str, dict[str, Any]]:
    """The files of the tokenizer beside the only text tower's weights, in the new order; none: nothing."""
    text = next(tower for tower in model.config.towers.values() if isinstance(tower, TextTowerConfig))
    return tokenizer_files(source, ids, text.max_len)


def _order(ids: Mapping[int, int], source: Path, there: bool) -> str:
    """What is said of token ids that are others there."""
    pairs = ", ".join(f"{old} is {new}" for old, new in ids.items())
    done = "tokenizer.json is written so" if there else f"{source} has no tokenizer.json: number your texts so"
    return f"token ids are others there: {pairs}, so that texts end with the highest; {done}"


def _in_some_layout(model: Model, to: str | None, about: Mapping[str, Any]) -> tuple[Layout, Written]:
    able, before = [layout for layout in LAYOUTS.values() if layout.writes], about.get("layout")
    chosen = [LAYOUTS[to]] if to is not None else sorted(able, key=lambda layout: layout.name != before)
    reasons = []
    for layout in chosen:
        try:
            kept = about.get("kept") if layout.name == before else None
            return layout, layout.write(model.config, dict(untied(model)), kept)
        except UserError as error:
            reasons.append(str(error))
    raise UserError("\n  ".join(["no layout has all parts of this model:", *reasons]) if to is None else reasons[0])
