"""What a quick command says, apart from what sudo, a login shell or a terminal adds before, after and in between. Pure functions."""

from __future__ import annotations

BEGIN, END = "--plainstack-begin--", "--plainstack-end--"


def framed(command: str) -> str:
    """The command in English, without its errors (a terminal mixes them into the output), between two marks."""
    return f"LC_ALL=C; export LC_ALL; echo {BEGIN}; {{ {command}; }} 2>/dev/null; echo; echo {END}"


def answer(output: str) -> list[str]:
    """The lines that the command itself has printed; none where it did not come to its end. Over a terminal they end with CR LF."""
    lines = [line.rstrip("\r") for line in output.split("\n")]
    if BEGIN not in lines or END not in lines:
        return []
    said = lines[lines.index(BEGIN) + 1 : lines.index(END)]
    while said and not said[-1]:
        said.pop()
    return said
