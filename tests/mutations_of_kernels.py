"""Mistakes in linear attention and Performer that the tests must see."""

from __future__ import annotations

from mutations import Mutant

LINEAR = "tests/nn/test_linear.py"
PERFORMER = "tests/nn/test_performer.py"
RANDOM = "tests/nn/test_random_features.py"
SUMS, PASSES = "nn/mechanisms/sums.py", "nn/mechanisms/passes.py"
ORDERING, KERNEL = "nn/mechanisms/ordering.py", "nn/mechanisms/kernel.py"
FEATURES, OWN = "nn/mechanisms/random_features.py", "nn/mechanisms/performer.py"

KERNEL_MUTANTS = (
    Mutant("sums: no look at later chunks", SUMS, "if chunks.future is not None:", "if False:", (LINEAR,)),
    Mutant("sums: written over with gradients", SUMS, "if torch.is_grad_enabled():", "if False:", (LINEAR,)),
    Mutant(
        "sums: do not follow the peak",
        SUMS,
        "self._own().mul_((self.peak - peak).exp_().mT)",
        "self._own()",
        (PERFORMER,),
    ),
    Mutant("passes: sums of weights have no gradient", PASSES, ".add_(alone[:, :, None])", "", (LINEAR,)),
    Mutant("passes: the divisor's gradient turned around", PASSES, "* -inverse", "* inverse", (LINEAR,)),
    Mutant(
        "passes: sums are carried into the next document",
        PASSES,
        "+= out[:, :, here] * keeps[:, :, here]",
        "+= out[:, :, here]",
        (LINEAR,),
    ),
    Mutant(
        "passes: blind rows are divided by zero",
        PASSES,
        "weight.masked_fill_(weight == 0, 1.0)",
        "weight",
        (PERFORMER,),
    ),
    Mutant(
        "ordering: documents are not sorted by order",
        ORDERING,
        "index = index.gather(1, segment.gather(1, index).argsort(dim=-1, stable=True))",
        "index = segment.argsort(dim=-1, stable=True)",
        (LINEAR,),
    ),
    Mutant("ordering: a tie across parts", ORDERING, "order.amin(-1) <= last", "order.amin(-1) < last", (LINEAR,)),
    Mutant(
        "ordering: earlier padding counts",
        ORDERING,
        "earlier = earlier & mask.keys.valid",
        "earlier = earlier.expand_as(mask.keys.valid)",
        (LINEAR,),
    ),
    Mutant("kernel: narrow sums", KERNEL, "torch.promote_types(q.dtype, torch.float32)", "q.dtype", (LINEAR,)),
    Mutant("kernel: sums under autocast", KERNEL, "with _as_it_is(q):", "with nullcontext():", (LINEAR,)),
    Mutant("features: QR's signs", FEATURES, "(q * r.diagonal().sign()).T", "q.T", (RANDOM,)),
    Mutant(
        "features: lengths that are all alike",
        FEATURES,
        "normal(num).norm(dim=-1, keepdim=True)",
        "width**0.5",
        (RANDOM,),
    ),
    Mutant("features: seed and number are added", FEATURES, 'f"{seed}/{number}"', 'f"{seed + number}"', (RANDOM,)),
    Mutant(
        "features: padding sets the peak",
        FEATURES,
        "logs.masked_fill_(~seen, -torch.inf)",
        "logs",
        (PERFORMER,),
    ),
    Mutant("features: a pair of equals", FEATURES, "torch.cat([x, -x], -1)", "torch.cat([x, x], -1)", (PERFORMER,)),
    Mutant(
        "performer: peaks of other groups",
        OWN,
        "peak.repeat_interleave(times, 1)",
        "peak.repeat(1, times, 1, 1)",
        (PERFORMER,),
    ),
    Mutant("performer: steps are not counted", OWN, "self.steps += 1", "self.steps += 0", (RANDOM,)),
)
