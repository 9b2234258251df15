"""Names that a user gives to parts of a model: which ones can be used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from patchword.config.errors import Problem, shown

# What torch.nn.ModuleDict has as attributes of its own, and therefore refuses as a name; a test compares it with torch.
_TAKEN = """
    T_destination add_module apply bfloat16 buffers call_super_init children clear compile cpu cuda double
    dump_patches eval extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half ipu items
    keys load_state_dict modules mtia named_buffers named_children named_modules named_parameters parameters pop
    register_backward_hook register_buffer register_forward_hook register_forward_pre_hook
    register_full_backward_hook register_full_backward_pre_hook register_load_state_dict_post_hook
    register_load_state_dict_pre_hook register_module register_parameter register_state_dict_post_hook
    register_state_dict_pre_hook requires_grad_ set_extra_state set_submodule share_memory state_dict to to_empty
    train training type update values xpu zero_grad
"""
TAKEN = frozenset(_TAKEN.split())


def name_problems(where: str, names: Iterable[str]) -> Iterator[Problem]:
    """Names under `where` that no part can have: they stand in paths and messages, and in torch's tree of modules."""
    for name in names:
        if name.startswith("_") or not name.isprintable():
            yield Problem(where, f"{shown(name)} is no name: it should not begin with _ nor hold control characters")
        elif name in TAKEN:
            yield Problem(f"{where}.{name}", "is a word that torch keeps for itself: choose another name")
