"""Names of towers and heads: what torch has no room for is refused before torch is imported."""

from __future__ import annotations

import pytest
from torch import nn

from patchword.config import ConfigError, ModelConfig
from patchword.config.names import TAKEN
from patchword.models.presets import preset


def _renamed(field: str, name: str) -> ModelConfig:
    """A model with one more tower or head, of that name."""
    data = preset("captioner-tiny").model.to_dict()
    data[field][name] = data[field]["text"]
    return ModelConfig.from_dict(data)


def test_the_list_is_that_of_torch() -> None:
    module = nn.ModuleDict()

    def is_torch(name: str) -> bool:  # other libraries add words to torch's classes
        return str(getattr(getattr(module, name), "__module__", "torch")).startswith("torch")

    assert {name for name in dir(module) if not name.startswith("_") and is_torch(name)} <= TAKEN


@pytest.mark.parametrize("field", ["towers", "heads"])
@pytest.mark.parametrize("name", ["type", "keys", "forward", "training"])
def test_words_of_torch_are_refused(field: str, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _renamed(field, name)
    assert [p.path for p in caught.value.problems] == [f"{field}.{name}"]
    assert "choose another name" in str(caught.value)


@pytest.mark.parametrize("field", ["towers", "heads"])
@pytest.mark.parametrize("name", ["_modules", "__class__", "_", "two\nlines", "bell\x07"])
def test_names_that_are_none_are_refused(field: str, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _renamed(field, name)
    assert [p.path for p in caught.value.problems] == [field]
    assert "is no name" in str(caught.value)


@pytest.mark.parametrize("field", ["towers", "heads"])
@pytest.mark.parametrize("name", ["", "a.b"])
def test_the_loader_refuses_dots_before_that(field: str, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot hold the name") as caught:
        _renamed(field, name)
    assert [p.path for p in caught.value.problems] == [field]


@pytest.mark.parametrize("name", ["left-eye", "2nd", "größe", "image_2", "typed", "two words", "a/b"])
def test_other_names_are_built(name: str) -> None:
    model = _renamed("heads", name)
    assert nn.ModuleDict({name: nn.Identity() for name in model.heads})
