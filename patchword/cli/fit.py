"""`patchword size --fit`: the largest batch on a device or in an amount of memory, and what more would take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from patchword.sizing.planning.plan import Fitting


def chosen(
    spec: str, where: str, mode: str, target: int | None, settings: dict[str, Any]
) -> tuple[int, Fitting | None]:
    """The largest batch that fits for sure, and all that is known of it; of a step of training alone.

    Raises:
        UserError: not even one sample fits, or `where` is neither a device nor an amount.
    """
    from patchword.config import UserError
    from patchword.costs import largest_batch
    from patchword.models.presets import load_config
    from patchword.plans import fit, is_amount
    from patchword.sizing.planning.devices import device
    from patchword.sizing.planning.fit import parse_bytes
    from patchword.sizing.planning.overheads import room

    if mode == "train":
        found = fit(spec, where, target, **settings)
        batch = found.sure[load_config(spec, settings).train.checkpoint_blocks]
    else:
        if target is not None:
            raise UserError("--target-batch is of a step of training: it does not go with another --mode")
        memory = parse_bytes(where) if is_amount(where) else room(device(where))[0]
        found, batch = None, largest_batch(spec, memory, mode, **settings)
    if batch:
        return batch, found
    raise UserError(f"not even one sample fits in {where}{_otherwise(found)}; see: patchword size {spec} --batch 1")


def _otherwise(found: Fitting | None) -> str:
    if found is None:
        return ""
    if found.sure[True]:
        return f", but with train.checkpoint_blocks=true {found.sure[True]:,}"
    if found.ranks is not None:
        return f" for sure; sharded by FSDP, one checkpointed sample each fits on {found.ranks:,} ranks"
    return ", on however many ranks" if not found.perhaps[True] else " for sure"


def report(found: Fitting, where: str) -> str:
    """A paragraph."""
    from patchword.sizing.amounts import in_bytes

    lines = [f"Largest batch in {where} ({in_bytes(found.memory)}):"]
    for checkpointed, name in ((False, "blocks kept"), (True, "blocks checkpointed")):
        sure, perhaps = found.sure[checkpointed], found.perhaps[checkpointed]
        more = f" for sure, up to {perhaps:,} if little is used beside tensors" if perhaps != sure else ""
        again = found.accumulate(checkpointed)
        steps = f"; {found.target:,} samples a step with train.accumulate={again}" if again is not None else ""
        lines.append(f"  {name}: {sure:,}{more}{steps}")
    for row in found.overheads:
        amount = in_bytes(row.low) if row.low == row.high else f"{in_bytes(row.low)} to {in_bytes(row.high)}"
        lines.append(f"  beside tensors, {row.name}: {amount} ({row.why})")
    return "\n".join(lines)
