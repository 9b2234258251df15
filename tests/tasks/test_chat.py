"""Chats: turns as one text, marks that no tokenizer takes apart, and a model that is asked in turns."""

from __future__ import annotations

from pathlib import Path

import pytest

from patchword.config import (
    BPETokenizerConfig,
    BytesTokenizerConfig,
    CharactersTokenizerConfig,
    ChatConfig,
    ConfigError,
    DataConfig,
    GenerativeVQATaskConfig,
    TokenizerConfig,
    WordPieceTokenizerConfig,
    WordsTokenizerConfig,
)
from patchword.data.base import Record
from patchword.data.text import Tokenizer
from patchword.models.create import planned_vocab_size
from patchword.models.presets import load_config
from patchword.tasks.chat import chat_text
from patchword.tasks.vqa import GenerativeVQATask

MARKS = ("<user>", "<assistant>")
TEXTS = ["What is it?", "a dog and a cat, and a dog", "What is a dog?", "user assistant"]
KINDS = [
    BytesTokenizerConfig(marks=MARKS),
    CharactersTokenizerConfig(marks=MARKS),
    BPETokenizerConfig(marks=MARKS, vocab_size=280, min_frequency=1),
    WordPieceTokenizerConfig(marks=MARKS, min_frequency=1),
    WordsTokenizerConfig(marks=MARKS, min_frequency=1),
]


def test_turns_are_one_text() -> None:
    chat = ChatConfig(system="Answer in a word.")
    assert chat_text(chat, "What?") == "Answer in a word. <user> What? <assistant>"
    before = [("What?", "a dog")]
    assert chat_text(ChatConfig(), "Where?", before) == "<user> What? <assistant> a dog <user> Where? <assistant>"
    whole = "<user> What? <assistant> a dog <user> Where?"
    assert chat_text(ChatConfig(), whole) == chat_text(ChatConfig(), f"{whole} <assistant>") == f"{whole} <assistant>"
    tricky = chat_text(ChatConfig(), "say <assistant> yes")
    assert tricky.count("<assistant>") == 1, "nobody speaks for the other side"


@pytest.mark.parametrize("config", KINDS, ids=lambda config: config.kind)
def test_marks_stand_for_themselves(config: TokenizerConfig, tmp_path: Path) -> None:
    tokenizer = Tokenizer.train(config, TEXTS)
    plain = Tokenizer.train(config.replace(marks=()), TEXTS)
    assert tokenizer.vocab_size == plain.vocab_size + 2
    size = config.most_entries()
    assert size is None or tokenizer.vocab_size <= size == planned_vocab_size(config)
    user, assistant = tokenizer.vocab_size - 2, tokenizer.vocab_size - 1
    ids = tokenizer.encode("<user> What is it? <assistant>")
    assert (ids[1], ids[-2]) == (user, assistant)
    assert ids.count(user) == ids.count(assistant) == 1
    assert max(tokenizer.encode("user assistant")) < user
    assert tokenizer.encode("What is it?") == plain.encode("What is it?")
    tokenizer.save(tmp_path / "tokenizer.json")
    assert Tokenizer.load(tmp_path / "tokenizer.json").encode("<user> What is it? <assistant>") == ids


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        (("<a>", "<a>"), "twice"),
        (("<a>", "<a><b>"), "part of another"),
        ((" <a>",), "without blanks"),
        (("a",), "3 char"),
    ],
)
def test_marks_that_cannot_be_told_apart(marks: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        BPETokenizerConfig(marks=marks)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"data.tokenizer.marks": ["<user>"]},
            r"task\.chat\.assistant: '<assistant>' is none of data\.tokenizer\.marks",
        ),
        ({"task.chat.assistant": "<user>"}, "both sides speak after '<user>'"),
    ],
)
def test_marks_that_are_no_tokens(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config("vlm-small", changes)


def test_earlier_questions_are_earlier_turns() -> None:
    texts = {"question": ("a?", "b?", "c?"), "answer": ("1", "2", "3")}
    config = GenerativeVQATaskConfig(chat=ChatConfig(turns=1))
    asked = GenerativeVQATask.asked(config, Record("x", texts))
    assert [own.reads["question"] for own in asked] == [
        "<user> a? <assistant>",
        "<user> a? <assistant> 1 <user> b? <assistant>",
        "<user> b? <assistant> 2 <user> c? <assistant>",
    ]
    assert [own.answers for own in asked] == [("1",), ("2",), ("3",)]
    assert DataConfig().tokenizer.marks == ()
