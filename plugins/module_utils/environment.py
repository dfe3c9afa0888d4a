"""The environment of a release, and its file in the syntax that systemd reads (systemd.exec(5), EnvironmentFile=)."""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Mapping

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Python's text may have what no UTF-8 has (half a surrogate pair) and what systemd refuses (noncharacters)
NOT_TEXT = re.compile("[\ud800-\udfff\ufdd0-\ufdef" + "".join(f"{chr(plane << 16 | 0xFFFE)}{chr(plane << 16 | 0xFFFF)}" for plane in range(17)) + "]")
LONGEST = 128 * 1024 - 1  # bytes of NAME=value, as Linux takes them (execve(2))
COUNT = 1000  # systemd 257 hangs for minutes over 20,000
SIZE = 1024 * 1024  # bytes of all; Linux takes 2 MiB with the arguments, and the app has programs of its own to run
# With these systemd tells a service about its sockets and how to report to it
OF_SYSTEMD = ("LISTEN_", "NOTIFY_SOCKET", "WATCHDOG_", "MAINPID")


def code_point(character: str) -> str:
    """A character as Unicode names it: U+FFFE."""
    return f"U+{ord(character):04X}"


def _bytes(name: object, value: object) -> int:
    return len(f"{name}={value}".encode(errors="surrogatepass"))


def _wrong_name(name: object) -> str:
    if not isinstance(name, str) or not VARIABLE.fullmatch(name):
        return "is not a name for an environment variable."
    if name.startswith("PLAINSTACK_"):
        return "has a name that Plainstack sets, as all that begin with PLAINSTACK_."
    if name.startswith(OF_SYSTEMD):
        return "has a name that systemd sets; with another value the app would not find its socket."
    return ""


def _wrong_value(name: object, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return "must be text or a number; quote true, false, null and dates."
    if "\0" in str(value):
        return "has a NUL byte, which no environment can have."
    if found := NOT_TEXT.search(str(value)):
        return f"has the character {code_point(found[0])}, which is not text, and systemd refuses it; is it binary data? Encode it, as Base64 for example."
    if (size := _bytes(name, value)) > LONGEST:
        return f"has {size} bytes with its name; Linux takes at most {LONGEST}. Put it into a file of the app."
    return ""


def refused(variables: Mapping[object, object]) -> list[tuple[str, str]]:
    """The variables that systemd or Linux would not take, and what is wrong with each, without its value.

    :returns: the name, without what follows an equals sign (in `TOKEN=abc: ` the secret is in the name), and the end of a sentence about it.
    """
    found = []
    for name, value in variables.items():
        found += [(str(name).partition("=")[0], why) for why in (_wrong_name(name), _wrong_value(name, value)) if why]
    return found


def too_much(variables: Collection[tuple[object, object]]) -> str:
    """What is too much about all variables of an app together, as the end of a sentence; empty when nothing is."""
    if len(variables) > COUNT:
        return f"have {len(variables)} variables together; they must have at most {COUNT}."
    if (size := sum(_bytes(*variable) for variable in variables)) > SIZE:
        return f"have {size} bytes together; they must have at most {SIZE}. Put large values into files of the app."
    return ""


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
