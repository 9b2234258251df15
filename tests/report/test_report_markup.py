from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchword.report.listing import listing
from patchword.report.markup import Html, clean, escape, join, node

HOSTILE = "</p><script>alert('1')</script> \"& 'x' &lt; <img src=x onerror=alert(1)>"


@given(st.text())
def test_text_comes_back_as_it_was_and_makes_no_element(parse, text) -> None:
    page = parse(node("p", {"title": text}, text, "|", text))
    assert page.text("p") == f"{clean(text)}|{clean(text)}"
    assert page.tags == [("p", {"title": clean(text)})]


@given(st.text(st.characters(codec=None)))
def test_clean_text_can_be_written(text) -> None:
    kept = clean(text)
    assert kept.encode("utf-8").decode() == kept
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef]", kept)


def test_what_a_document_may_not_hold() -> None:
    assert clean("a\x00b\ud800c\x1bd\x9ee") == "a�b�c�d�e"
    assert clean("a\r\nb\rc\n\td") == "a\nb\nc\n\td"
    assert clean("größe 画像 🦊 שלום") == "größe 画像 🦊 שלום"


def test_only_html_is_left_alone() -> None:
    assert node("p", None, HOSTILE) == f"<p>{escape(HOSTILE)}</p>"
    assert "<script" not in node("p", None, HOSTILE)
    assert node("p", None, Html("<b>x</b>")) == "<p><b>x</b></p>"
    assert join(["<", node("br"), None, ">"], " & ") == "&lt; &amp; <br/> &amp; &gt;"


def test_attributes() -> None:
    assert node("img", {"src": 'a"b', "width": 3, "hidden": True, "alt": None, "lazy": False}) == (
        '<img src="a&quot;b" width="3" hidden/>'
    )
    assert node("td", {"class": None}) == "<td></td>"


YAML = """# All of it.
name: "a # b"   # a note
model:
  towers: {image: 3}
  - kind: softmax
    dropout: 0.1
    lr: 3e-4
    window: null
  path: C:\\x#y
  'odd key': yes
text: |
  <script>alert(1)</script>
"""


@pytest.mark.parametrize("text", [YAML, "", "\n", "no yaml at all {{{ <b>", ":", "#", "- - - x", "a:b", "  "])
def test_a_listing_shows_the_text_itself(parse, text) -> None:
    page = parse(listing(text))
    assert page.text("code") == text
    assert {tag for tag, _ in page.tags} <= {"pre", "code", "span"}


@given(st.text())
def test_a_listing_shows_any_text(parse, text) -> None:
    assert parse(listing(text)).text("code") == clean(text)


def test_a_listing_marks_keys_values_and_notes() -> None:
    text = listing("lr: 3e-4  # rate\nname: run-1")
    assert '<span class="key">lr:</span>' in text
    assert '<span class="plain"> 3e-4  </span><span class="note"># rate</span>' in text
    assert '<span class="key">name:</span> run-1' in text
