from __future__ import annotations

from html.parser import HTMLParser

import pytest

VOID = frozenset(["meta", "link", "img", "br"])
SELF_CLOSED = frozenset(["circle", "line", "path", "rect", "use", "image"])


class Page(HTMLParser):
    """A page taken apart; fails on tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.open == [], f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute of <{tag}> stands twice"
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID | SELF_CLOSED, f"<{tag}/> would stay open in a browser"
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.texts.setdefault(tag, []).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def text(self, tag: str = "html") -> str:
        return "".join(self.texts.get(tag, []))

    def classed(self, name: str) -> list[tuple[str, dict[str, str | None]]]:
        return [item for item in self.tags if name in (item[1].get("class") or "").split()]


@pytest.fixture(scope="session")
def parse():
    return Page
