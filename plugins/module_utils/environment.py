"""The environment file of a release, in the syntax that systemd reads (systemd.exec(5), EnvironmentFile=)."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping

LINE = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\`$]|\\["\\`$])*)"\n')


class EnvironmentTextError(ValueError):
    """The text is no environment that Plainstack has written. The message has nothing of it."""


def quote(value: object) -> str:
    """A value in double quotes: all of the text survives, newlines, quotes, dollar signs and backslashes too.

    systemd neither expands variables nor % in this file; inside double quotes a backslash escapes only these four.
    """
    text = str(value)
    for character in ("\\", '"', "`", "$"):
        text = text.replace(character, "\\" + character)
    return f'"{text}"'


def render(variables: Mapping[str, object]) -> str:
    """The whole file, sorted by name, so that the same variables make the same file."""
    return "".join(f"{name}={quote(variables[name])}\n" for name in sorted(variables))


def parse(text: str) -> dict[str, str]:
    """The variables of a file as `render` writes it, and of no other.

    :raises EnvironmentTextError: when it is not such a file.
    """
    found, end = {}, 0
    while end < len(text):
        line = LINE.match(text, end)
        if not line:
            raise EnvironmentTextError("it is not as Plainstack writes it")
        found[line[1]] = re.sub(r"\\(.)", r"\1", line[2])
        end = line.end()
    return found


def encode(text: str) -> str:
    """One word for a whole text, for a module's option that is hidden in the output and the journal: hiding it hides nothing else."""
    return base64.b64encode(text.encode()).decode()


def decode(text: str) -> str:
    """What `encode` made one word of."""
    return base64.b64decode(text).decode()
