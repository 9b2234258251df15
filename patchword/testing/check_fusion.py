"""The contract of fusions, for anyone who writes one: `check_fusion(MyFusionConfig)`."""

from __future__ import annotations

from patchword.config import FusionConfig
from patchword.testing import fusion_laws as laws
from patchword.testing.fusion_subject import FusionSubject

ALL = (
    laws.class_facts_are_true,
    laws.padding_changes_nothing,
    laws.rows_are_independent,
    laws.absent_is_like_padding,
    laws.every_tower_is_heard,
    laws.any_subset_is_finite,
    laws.gradients_reach_every_weight,
    laws.texts_share_a_sample,
    laws.equal_widths_are_fine,
    laws.a_model_takes_it,
)
"""What every fusion must obey."""

CONTINUING = (
    laws.later_tokens_reach_no_earlier_one,
    laws.a_model_tells_nothing_before_it_is_read,
    laws.cached_equals_recomputed,
    laws.beams_share_a_sample,
)
"""What one must obey beside where the trunk continues a text."""


def check_fusion(fusion: FusionConfig | type[FusionConfig]) -> list[str]:
    """Run the whole contract on a fusion: three towers of unequal widths before a trunk of width 16, in float64.

    Args:
        fusion: its config class, or settings of it.

    Returns:
        The laws that it obeys.

    Raises:
        AssertionError: naming the law.
    """
    config = fusion() if isinstance(fusion, type) else fusion
    asked = ALL + (CONTINUING if config.continues else ())
    for law in asked:
        try:
            law(FusionSubject(config))
        except AssertionError as error:
            raise AssertionError(f"{law.__name__} does not hold for {config.kind} fusion: {error}") from error
    return [law.__name__ for law in asked]
