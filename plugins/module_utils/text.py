"""Text that an app or another program wrote, made fit to be shown in an operator's terminal."""

from __future__ import annotations

import unicodedata

# For a program whose words are read: in English whatever language the system has. LANGUAGE goes before C.UTF-8, though not before C
ENGLISH = {"LC_ALL": "C.UTF-8", "LANGUAGE": ""}

# Control characters (an escape sequence begins with one), invisible ones that change the direction of text, bytes that are no UTF-8,
# and line separators
NEUTRALISED = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def _shown(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in NEUTRALISED:
        return character
    return character.encode("unicode_escape").decode("ascii")


def plain(text: str) -> str:
    r"""The text with every character that a terminal would act on shown as Python writes it, such as `\x1b`; newlines and tabs stay."""
    return "".join(map(_shown, text.replace("\r\n", "\n")))
