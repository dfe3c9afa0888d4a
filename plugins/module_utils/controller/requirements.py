"""Whether requirements files can be read on the server: uv reads UTF-8 and nothing else. Looks at the source directory only."""

from __future__ import annotations

import codecs
import os
import re

# What other editors and PowerShell write, by the bytes that a file begins with
MARKS = ((codecs.BOM_UTF32_LE, "UTF-32"), (codecs.BOM_UTF32_BE, "UTF-32"), (codecs.BOM_UTF16_LE, "UTF-16"), (codecs.BOM_UTF16_BE, "UTF-16"))
INCLUDE = re.compile(r"^\s*(?:-r|-c|--requirements?|--constraints?)[\s=]*(.+?)\s*(?:#.*)?$")


def _problem(name: str, data: bytes) -> str:
    """What is wrong with the encoding of a file; empty when it is UTF-8, with or without a byte order mark."""
    encoding = next((encoding for mark, encoding in MARKS if data.startswith(mark)), "")
    if not encoding and b"\0" in data[:64]:
        encoding = "UTF-16"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        found = f" (line {line}, byte 0x{data[error.start]:02x})" if not encoding else ""
        encoding = encoding or "cp1252"
        return (
            f"'{name}' is not UTF-8, which uv needs{found}; it looks like {encoding}. "
            f"Convert it: iconv -f {encoding} -t UTF-8 {name} > new.txt && mv new.txt {name}; "
            f"in PowerShell: (Get-Content {name}) | Set-Content -Encoding utf8 {name}"
        )
    return f"'{name}' has NUL bytes; it looks like {encoding} without a mark. Write it again as UTF-8." if encoding else ""


def problems(source: str, name: str) -> list[str]:
    """What is wrong with a requirements file of the source, and with what it includes with `-r` and `-c`.

    :param name: path of the file, relative to the source.
    """
    return [problem for problem in _look(source, name).values() if problem]


def files(source: str, name: str) -> list[str]:
    """A requirements file of the source and what it includes, as far as they are there."""
    return list(_look(source, name))


def _look(source: str, name: str) -> dict[str, str]:
    """What is wrong with each of these files; empty where nothing is."""
    found: dict[str, str] = {}
    waiting = [os.path.normpath(name)]
    while waiting:
        name = waiting.pop(0)
        path = os.path.join(source, name)
        if name in found or not os.path.isfile(path):  # what is missing, uv names
            continue
        with open(path, "rb") as stream:
            data = stream.read()
        found[name] = _problem(name, data)
        if not found[name] and not name.endswith((".toml", ".lock")):
            lines = (INCLUDE.match(line) for line in data.decode("utf-8-sig").splitlines())
            waiting += [os.path.normpath(os.path.join(os.path.dirname(name), line[1].strip("'\""))) for line in lines if line and "://" not in line[1]]
    return found
