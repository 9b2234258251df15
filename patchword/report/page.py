"""The page: one HTML file that needs nothing else, runs no script, and is safe to open whatever the captions say."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

import patchword
from patchword.config import RunError
from patchword.report.content import Report
from patchword.report.markup import Html, clean, join, node
from patchword.report.sections import Section, headline, sections
from patchword.training.files import write_text


def write_report(path: Path, report: Report) -> None:
    """Write the page. Whatever was at `path` stays until the new page is complete.

    Raises:
        RunError: the file cannot be written.
        ValueError: a picture or its attention has the wrong shape.
    """
    write_page(path, render(report))


def write_page(path: Path, page: str) -> None:
    """Write a page's text. Whatever was at `path` stays until the new one is complete.

    Raises:
        RunError: the file cannot be written.
    """
    try:
        write_text(path, page)
    except OSError as error:
        raise RunError(f"cannot write the report {path}: {error.strerror or error}") from error


def render(report: Report) -> str:
    """The page's text."""
    return document("Run report", report.title or "Untitled run", headline(report), report.notes, sections(report))


def document(over: str, title: str, tiles: Html | None, notes: Sequence[str], parts: Sequence[Section]) -> str:
    """A whole page.

    Args:
        over: what kind of page it is.
        title: what it is about.
        tiles: the figures to know first.
        notes: what a reader must know beside the figures, a sentence each.
        parts: its sections.
    """
    style = clean(Path(__file__).with_name("style.css").read_text(encoding="utf-8"))
    # the policy lets in this style sheet by its hash, and pictures that the page itself holds; no script, no network
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = node(
        "head",
        None,
        node("meta", {"charset": "utf-8"}),
        node("meta", {"http-equiv": "Content-Security-Policy", "content": policy}),
        node("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        node("meta", {"name": "color-scheme", "content": "light dark"}),
        node("meta", {"name": "referrer", "content": "no-referrer"}),
        node("meta", {"name": "generator", "content": f"patchword {patchword.__version__}"}),
        node("title", None, title),
        node("link", {"rel": "icon", "href": "data:,"}),
        node("style", None, Html(style)),
    )
    body = node(
        "body", None, _header(over, title, tiles, notes, parts), node("main", None, *map(_section, parts)), _footer()
    )
    return f"<!doctype html>\n{node('html', {'lang': 'en'}, head, body)}\n"


def _header(over: str, title: str, tiles: Html | None, notes: Sequence[str], parts: Sequence[Section]) -> Html:
    links = [node("a", {"href": f"#{part.name}"}, part.title) for part in parts]
    lines = [node("li", None, note) for note in notes]
    return node(
        "header",
        None,
        node("p", {"class": "over"}, over),
        node("h1", {"dir": "auto"}, title),
        tiles,
        node("ul", {"class": "notes"}, *lines) if lines else None,
        node("nav", {"aria-label": "Sections"}, *links) if links else None,
    )


def _section(part: Section) -> Html:
    lead = node("p", {"class": "lead"}, part.lead) if part.lead else None
    heading = node("h2", {"id": f"{part.name}-title"}, part.title)
    return node("section", {"id": part.name, "aria-labelledby": f"{part.name}-title"}, heading, lead, *part.content)


def _footer() -> Html:
    text = f"Written by patchword {patchword.__version__}. This file runs no script and loads nothing from anywhere."
    return node("footer", None, node("p", None, join([text])))
