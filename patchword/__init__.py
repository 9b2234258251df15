"""patchword: design, size, train, compare and ship multimodal transformers from one typed configuration.

import patchword
model = patchword.create_model("captioner-tiny")
patchword.train("captioner-tiny", out="runs/first", **{"train.steps": 200})
print(patchword.load("runs/first").predict("photo.jpg")[0].text)
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from patchword.api import create_model, evaluate, load, load_config, presets, train
    from patchword.config import ConfigError, RunConfig, RunError, UserError
    from patchword.costs import calibrate, explain, largest_batch, published, size, size_report, verify
    from patchword.models.inputs import inputs_from
    from patchword.plans import fit, plan, plan_scale
    from patchword.training.convert import convert

_HOMES = {
    "calibrate": "patchword.costs",
    "convert": "patchword.training.convert",
    "create_model": "patchword.api",
    "evaluate": "patchword.api",
    "explain": "patchword.costs",
    "fit": "patchword.plans",
    "inputs_from": "patchword.models.inputs",
    "largest_batch": "patchword.costs",
    "load": "patchword.api",
    "load_config": "patchword.models.presets",
    "plan": "patchword.plans",
    "plan_scale": "patchword.plans",
    "presets": "patchword.api",
    "published": "patchword.costs",
    "size": "patchword.costs",
    "size_report": "patchword.costs",
    "train": "patchword.api",
    "verify": "patchword.costs",
    "ConfigError": "patchword.config",
    "RunConfig": "patchword.config",
    "RunError": "patchword.config",
    "UserError": "patchword.config",
}
__all__ = [  # loaded on first use, so that `import patchword` does not import torch
    "ConfigError",
    "RunConfig",
    "RunError",
    "UserError",
    "calibrate",
    "convert",
    "create_model",
    "evaluate",
    "explain",
    "fit",
    "inputs_from",
    "largest_batch",
    "load",
    "load_config",
    "plan",
    "plan_scale",
    "presets",
    "published",
    "size",
    "size_report",
    "train",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'patchword' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
