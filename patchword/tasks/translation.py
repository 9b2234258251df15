"""Translation: a text in, a text of another language out; with a picture where the model has a tower that sees it."""

from __future__ import annotations

from collections.abc import Sequence

from patchword.config import SayingTaskConfig, TranslationTaskConfig, UserError, implements
from patchword.data.base import Record
from patchword.tasks.asked import Asked
from patchword.tasks.base import Prediction
from patchword.tasks.metrics import edit_rates, exact_match, translation_scores
from patchword.tasks.saying import SayingTask


@implements(TranslationTaskConfig)
class TranslationTask(SayingTask):
    """Learns to say in one language what it reads in another."""

    @classmethod
    def asked(cls, config: SayingTaskConfig, record: Record) -> list[Asked]:
        """Each text with its translations; of several of the same text, all are right.

        Raises:
            UserError: several texts have another number of translations, so which is whose is not known.
        """
        sources, targets = record.texts["source"], record.texts["target"]
        (tower,) = config.reads
        if len(sources) == 1:
            sources *= len(targets)
        if len(sources) != len(targets):
            raise UserError(
                f"{record.id} has {len(sources)} sources but {len(targets)} targets: "
                "should be as many, or one source whose translations they all are"
            )
        of_source: dict[str, list[str]] = {}
        for source, target in zip(sources, targets, strict=True):
            of_source.setdefault(source, []).append(target)
        return [Asked({tower: source}, tuple(said)) for source, said in of_source.items()]

    def judge(self, predictions: Sequence[Prediction]) -> dict[str, float]:
        """BLEU and chrF, rates of wrong characters and words, and the share that equals a reference."""
        said, references = [p.text for p in predictions], [p.references for p in predictions]
        exact = {"exact_match": exact_match(said, references)}
        return {**translation_scores(said, references), **edit_rates(said, references), **exact}
