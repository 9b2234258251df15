"""The turns of a chat as one text: marks, what was said after each, and the mark after which the model speaks."""

from __future__ import annotations

from collections.abc import Sequence

from patchword.config import ChatConfig

Turn = tuple[str, str]
"""What the user said, and what was answered."""


def chat_text(chat: ChatConfig, said: str, before: Sequence[Turn] = ()) -> str:
    """`<user> what? <assistant> a dog <user> where? <assistant>`.

    Args:
        chat: the marks, and what stands before all.
        said: what the user says now. Marks in it are taken apart, so that nobody speaks for the other side; a whole
            chat that begins with the user's mark is left as it is.
        before: earlier turns, the first one first.
    """
    if said.startswith(chat.user) and not before:
        text = said.strip()
        return text if text.endswith(chat.assistant) else f"{text} {chat.assistant}"
    parts = [chat.system] if chat.system else []
    for asked, answered in before:
        parts += [chat.user, _plain(chat, asked), chat.assistant, _plain(chat, answered)]
    return " ".join([*parts, chat.user, _plain(chat, said), chat.assistant])


def _plain(chat: ChatConfig, text: str) -> str:
    for mark in (chat.user, chat.assistant):
        text = text.replace(mark, f"{mark[0]} {mark[1:]}")
    return text
