"""Choices of what is learnt from what: one class a task, which also says what it reads and what it cannot work with."""

from __future__ import annotations

from patchword.config.tasks.base import TaskConfig
from patchword.config.tasks.captioning import CaptioningTaskConfig
from patchword.config.tasks.chat import ChatConfig
from patchword.config.tasks.choosing import ChoosingTaskConfig
from patchword.config.tasks.classification import ClassificationTaskConfig
from patchword.config.tasks.coca import CocaTaskConfig
from patchword.config.tasks.language import LanguageTaskConfig
from patchword.config.tasks.masked import MaskedImageTaskConfig, MaskedLanguageTaskConfig
from patchword.config.tasks.retrieval import RetrievalTaskConfig, ZeroShotConfig
from patchword.config.tasks.saying import SayingTaskConfig
from patchword.config.tasks.several import OneOfSeveralConfig, SeveralTasksConfig
from patchword.config.tasks.translation import TranslationTaskConfig
from patchword.config.tasks.vqa import GenerativeVQATaskConfig, QuestionTaskConfig, VQATaskConfig

__all__ = [
    "CaptioningTaskConfig",
    "ChatConfig",
    "ChoosingTaskConfig",
    "ClassificationTaskConfig",
    "CocaTaskConfig",
    "GenerativeVQATaskConfig",
    "LanguageTaskConfig",
    "MaskedImageTaskConfig",
    "MaskedLanguageTaskConfig",
    "OneOfSeveralConfig",
    "QuestionTaskConfig",
    "RetrievalTaskConfig",
    "SayingTaskConfig",
    "SeveralTasksConfig",
    "TaskConfig",
    "TranslationTaskConfig",
    "VQATaskConfig",
    "ZeroShotConfig",
]
