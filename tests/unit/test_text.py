"""What is shown in a terminal."""

import hypothesis.strategies as st
import pytest
from ansible_collections.plainstack.web.plugins.module_utils.text import plain
from hypothesis import given


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one\n\ttwo \N{SNOWMAN} \N{LATIN SMALL LETTER E WITH ACUTE} \N{NO-BREAK SPACE}|", None),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),  # the same in one byte
        ("50%\r100%", r"50%\r100%"),
        ("one\r\ntwo\r\n", "one\ntwo\n"),
        ("a\x08\x7f\x00", r"a\x08\x7f\x00"),
        ("user\u202etxt.exe \u2066x\u2069 \u200f\ufeff", r"user\u202etxt.exe \u2066x\u2069 \u200f\ufeff"),
        ("\u2028\U000e0041", r"\u2028\U000e0041"),
        ("\udc9b", r"\udc9b"),  # a byte that is no UTF-8, as surrogateescape keeps it
        ("", None),
    ],
)
def test_plain(text: str, shown: str | None) -> None:
    assert plain(text) == (text if shown is None else shown)


@given(st.text())
def test_nothing_is_left_that_a_terminal_acts_on(text: str) -> None:
    shown = plain(text)
    assert all(character.isprintable() or character.isalnum() or character in "\n\t" or ord(character) >= 0xA0 for character in shown)
    assert plain(shown) == shown
    shown.encode()
