"""The environment file: every value must come back out of it as systemd reads it."""

import re

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.environment import EnvironmentTextError, parse, refused, render, too_much
from hypothesis import example, given, settings
from hypothesis import strategies as st

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
ODD = "'\" $HOME ${HOME} `id` %h \\ \\n # ; = !\n\t trailing \\"


def read_as_systemd(text: str) -> dict[str, str]:
    """The part of systemd's parser (basic/env-file.c) that matters for names with double-quoted values.

    In double quotes a backslash escapes only the four characters below and a newline; before all others it stands for itself.
    """
    found = {}
    while text:
        name, text = text.split("=", 1)
        assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)
        assert text[0] == '"'
        value, position = "", 1
        while text[position] != '"':
            if text[position] == "\\" and text[position + 1] in '"\\`$\n':
                position += 1
                value += "" if text[position] == "\n" else text[position]
            else:
                value += text[position]
            position += 1
        assert text[position + 1] == "\n"
        found[name] = value
        text = text[position + 2 :]
    return found


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=4))
@example({"A": ODD, "B": " leading", "C": "", "D": "\n", "E": "\r\n", "F": '\\"', "G": "#comment"})
def test_every_text_survives(variables: dict[str, str]) -> None:
    assert read_as_systemd(render(variables)) == parse(render(variables)) == variables


@pytest.mark.parametrize(("value", "expected"), [(1, "1"), (0.5, "0.5"), ("010", "010"), ("", "")])
def test_numbers(value: object, expected: str) -> None:
    assert read_as_systemd(render({"A": value})) == {"A": expected}


def test_the_order_of_the_definition_does_not_matter() -> None:
    assert render({"B": 1, "A": 2}) == render({"A": 2, "B": 1}) == 'A="2"\nB="1"\n'


@pytest.mark.parametrize("text", ["A=1\n", 'A="1"', 'A="1"\n\n', "# x\n", 'A="$HOME"\n', 'A="\\n"\n', 'A-B="1"\n', 'A="1"\nB="', ' A="1"\n', 'A="1" B="2"\n'])
def test_what_is_not_as_it_is_written_is_refused(text: str) -> None:
    """Without a word of it: it may be a secret."""
    with pytest.raises(EnvironmentTextError) as error:
        parse(text)
    assert str(error.value) == "it is not as Plainstack writes it"


def test_what_a_service_cannot_have_is_told_without_its_value() -> None:
    """The role `release` alone has no other check."""
    assert refused({"A": "swordfish\ufffe", "B=swordfish": 1, "NOTIFY_SOCKET": "", "C": [1], "D": 0.5}) == [
        ("A", "has the character U+FFFE, which is not text, and systemd refuses it; is it binary data? Encode it, as Base64 for example."),
        ("B", "is not a name for an environment variable."),
        ("NOTIFY_SOCKET", "has a name that systemd sets; with another value the app would not find its socket."),
        ("C", "must be text or a number; quote true, false, null and dates."),
    ]
    assert too_much([("A", "x" * 1024 * 1024)]) == "have 1048578 bytes together; they must have at most 1048576. Put large values into files of the app."
