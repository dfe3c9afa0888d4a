"""What apt's lock files, its sources and its words tell. Pure but for `holder`."""

from __future__ import annotations

import fcntl
import os
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# Whoever installs holds the first, whoever only updates the lists or downloads holds the others
LOCKS = ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock", "/var/cache/apt/archives/lock")
FLOCK = "hhqqi"  # struct flock: l_type, l_whence, l_start, l_len, l_pid


@dataclass(frozen=True)
class Source:
    """A line or paragraph of apt's sources: its file, and one URI and suite of it."""

    file: str
    uri: str
    suite: str


@dataclass(frozen=True)
class Complaint:
    """A source that could not be read: as apt names it, the file it stands in (empty where unknown), and why."""

    source: str
    file: str
    reason: str

    def __str__(self) -> str:
        return f"{self.source}{f' ({self.file})' if self.file else ''}: {self.reason}"


def holder(paths: Iterable[str] = LOCKS) -> str:
    """Who holds one of apt's locks, as `unattended-upgrade (process 812)`; empty when they are free."""
    for path in paths:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue
        try:
            found = fcntl.fcntl(handle, fcntl.F_GETLK, struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        finally:
            os.close(handle)
        kind, *_place, process = struct.unpack(FLOCK, found)
        if kind != fcntl.F_UNLCK:
            return f"{program(process)} (process {process})"
    return ""


def program(process: int) -> str:
    """The name of a process's program, or of the script that its interpreter runs."""
    try:
        with open(f"/proc/{process}/cmdline", "rb") as stream:
            words = [os.path.basename(word) for word in stream.read().decode("utf-8", "replace").split("\0") if word]
    except OSError:
        return "a process that has just ended"
    script = words[1:2] if words and re.match(r"python|perl|sh$|bash$", words[0]) and words[1:] and not words[1].startswith("-") else words[:1]
    return "".join(character for character in "".join(script) if character.isprintable()) or "a process of another namespace"


def plain(uri: str) -> str:
    """A URI in the one form in which sources and messages can be compared."""
    return uri.replace("cdrom://", "cdrom:", 1).rstrip("/")


def sources(files: Mapping[str, str]) -> list[Source]:
    """All sources in use.

    :param files: contents by path: `*.list` with one source a line, `*.sources` with one a paragraph.
    """
    found = []
    for path, text in sorted(files.items()):
        if path.endswith(".list"):
            lines = re.findall(r"^[ \t]*deb(?:-src)?[ \t]+(?:\[[^]\n]*\][ \t]+)?(cdrom:\[[^]\n]*\]\S*|\S+)[ \t]+(\S+)", text, re.MULTILINE)
            found += [Source(path, plain(uri), suite) for uri, suite in lines]
            continue
        for paragraph in re.split(r"\n\s*\n", re.sub(r"(?m)^#.*\n?", "", text)):
            fields = {name.lower(): value.split() for name, value in re.findall(r"(?m)^([\w-]+):((?:.*\n?)(?:[ \t].*\n?)*)", paragraph)}
            if fields.get("enabled", ["yes"])[:1] != ["no"]:
                found += [Source(path, plain(uri), suite) for uri in fields.get("uris", []) for suite in fields.get("suites", [])]
    return found


def blame(text: str, known: Iterable[Source]) -> str:
    """The file with the source that a text begins with: `URI SUITE...`; empty where there is none."""
    said = plain(text)
    for source in sorted(known, key=lambda source: (-len(source.uri), -len(source.suite))):
        if re.match(rf"{re.escape(source.uri)}/? {re.escape(source.suite)}(?:[/ ]|$)", said):
            return source.file
    return ""


def complaints(output: str, known: list[Source]) -> list[Complaint]:
    """The sources that `apt-get update` could not read, by its output in the locale C.

    Each is a line `Err:2 http://deb.example.org/debian nosuch Release`, and below it, indented, the reason.
    """
    found: dict[tuple[str, str], Complaint] = {}
    lines = output.replace("\r", "").splitlines()
    for number, line in enumerate(lines):
        if not (error := re.match(r"Err:\d+ (.+)", line)):
            continue
        reason = lines[number + 1].strip() if lines[number + 1 : number + 2] and lines[number + 1].startswith("  ") else "it cannot be read"
        words = error[1].split(" ")
        name = next((" ".join(words[:end]) for end in range(len(words), 1, -1) if words[end - 1] in {source.suite for source in known}), error[1])
        complaint = Complaint(name, blame(error[1], known), reason)
        found.setdefault((complaint.source, complaint.file), complaint)
    return list(found.values())


def errors(output: str) -> str:
    """What apt-get says was wrong: its lines that begin with `E:`, or its last ones."""
    lines = [line for line in output.replace("\r", "").splitlines() if line.strip()]
    return "\n".join([line for line in lines if line.startswith("E:")] or lines[-5:])


def unknown(output: str) -> list[str]:
    """The packages that apt-get does not know, by its output in the locale C."""
    return re.findall(r"(?m)^E: (?:Unable to locate package |Package ')([^\s']+)(?:' has no installation candidate)?", output)
