"""The environment file of a release, in the syntax that systemd reads (systemd.exec(5), EnvironmentFile=)."""

from __future__ import annotations

from collections.abc import Mapping


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
