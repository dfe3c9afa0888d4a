"""The lines of an app's logs on a server: its journal, nginx's, and the log of deploys. Read only, and bounded."""

from __future__ import annotations

import contextlib
import datetime
import heapq
import itertools
import json
import os
import re
import subprocess
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from ansible_collections.plainstack.web.plugins.module_utils.host import accesslog
from ansible_collections.plainstack.web.plugins.module_utils.host.tail import backwards
from ansible_collections.plainstack.web.plugins.module_utils.layout import App
from ansible_collections.plainstack.web.plugins.module_utils.text import ENGLISH, plain

LEVELS = ("debug", "info", "warning", "error")
SOURCES = ("app", "access", "error", "deploys")
SCANNED = 20_000  # lines of the journal that are looked at for those of a level or of a request
ENTRY, JOURNAL = 2**20, 2**26  # bytes of an entry of the journal that is not left out, and of all that are read of it
MOST = 2**25  # bytes of each of nginx's logs that are read at most
LONGEST = 2000  # characters of a line that are shown
SIZE = 2**22  # characters of all lines of an app
ERROR_LOG = "/var/log/nginx/error.log"
# How logging, Gunicorn, Uvicorn and others begin a line; in capitals, so that no word of a sentence counts
NAMED = re.compile(r"(?:^|[\[ (:])(CRITICAL|FATAL|ERROR|WARNING|WARN|INFO|DEBUG)(?=[\]): ]|$)")
BY_NAME = {"CRITICAL": "error", "FATAL": "error", "ERROR": "error", "WARNING": "warning", "WARN": "warning", "INFO": "info", "DEBUG": "debug"}
EXCEPTION = re.compile(r"[\w.]*(?:Error|Exception): ?")  # a line that begins so, as Gunicorn's last one where it cannot import the app
BEGINNING = 100  # characters in which a level is looked for
TRACEBACK = "Traceback (most recent call last):"
ACCESS = re.compile(r'^[^"]*\[[^\]"]+\] "(?P<request>[^"]*)" (?P<status>\d{3}) \d+ "[^"]*" "[^"]*" (?P<host>\S+) (?P<rest>.*)$')
ERROR = re.compile(r"^(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) \[(\w+)\] ")
OF_NGINX = {"debug": "debug", "info": "info", "notice": "info", "warn": "warning"}


class WrongTimeError(ValueError):
    """A time that systemd does not understand; the message says which."""


@dataclass(frozen=True)
class Line:
    """One line: when (seconds since 1970), where from, how bad, what; of a traceback also the line `about` it, which came before."""

    at: float
    source: str
    level: str
    text: str
    about: str = ""


@dataclass(frozen=True)
class Wanted:
    """What the operator wants to see: the moments between which (0 is no end), the last so many lines, of this level or worse, from these sources,
    and about the request of this id (empty for all)."""

    since: float
    until: float
    lines: int
    level: str
    sources: tuple[str, ...] = SOURCES
    request: str = ""

    def takes(self, line: Line) -> bool:
        """Whether the operator wants to see a line."""
        in_time = line.at >= self.since and (not self.until or line.at <= self.until)
        named = self.request in line.text or self.request in line.about
        return in_time and named and LEVELS.index(line.level) >= LEVELS.index(self.level)


def _analyze(what: str, text: str) -> str:
    command = ["systemd-analyze", what, "--", text]
    done = subprocess.run(command, env={**os.environ, **ENGLISH}, capture_output=True, encoding="utf-8", errors="replace", check=False)
    return "" if done.returncode else done.stdout


def when(name: str, text: str, now: float) -> float:
    """A moment as systemd understands it: a time (`09:00`, `yesterday`, `2026-11-27 14:00`), or a span (`1h`, `20min`), which counts back from now.

    :param name: of the option.
    :param text: empty for 0.
    :raises WrongTimeError: when systemd does not.
    """
    if not text:
        return 0.0
    if "\0" not in text and len(text) <= 100:
        if span := re.search(r"(?m)^\s*(?:μs|us): (\d+)$", _analyze("timespan", text)):
            return now - int(span[1]) / 1e6
        if found := re.search(r"(?m)^\s*UNIX seconds: @([\d.]+)$", _analyze("timestamp", text)):
            return float(found[1])
    raise WrongTimeError(
        f"{name} is '{plain(text[:100])}', and systemd understands no time in it. Nothing was read.\n"
        f"Where it is set: -e {name}=... of the command.\n"
        "Next: a span such as 1h or 20min, or a time such as '2026-11-27 14:00' or yesterday; systemd.time(7) has them all."
    )


def message(value: object) -> str:
    """The text of a journal's entry: journalctl writes one that has control characters as a list of bytes."""
    if isinstance(value, list):
        with contextlib.suppress(ValueError, TypeError):
            return bytes(value).decode("utf-8", "replace")
    return value if isinstance(value, str) else ""


def _level(text: str, priority: str) -> str:
    found = NAMED.search(text[:BEGINNING])
    if found:
        return BY_NAME[found[1]]
    if priority in ("0", "1", "2", "3") or EXCEPTION.match(text):
        return "error"
    return "warning" if priority == "4" else "debug" if priority == "7" else "info"


@dataclass(frozen=True)
class Entry:
    """An entry of the journal: when, the unit that it is of or about, the process, how bad (as syslog has it), what."""

    at: float
    unit: str
    process: str
    priority: str
    text: str


def parse_entry(line: str) -> Entry | None:
    """An entry as `journalctl --output=json` prints it; None where it is none."""
    try:
        entry = json.loads(line)
        at = int(entry["__REALTIME_TIMESTAMP"]) / 1e6
    except (ValueError, KeyError, TypeError):
        return None
    # What systemd says of a unit; anybody else may set UNIT, too
    about = entry.get("UNIT") if entry.get("_PID") == "1" else ""
    unit, said = message(about or entry.get("_SYSTEMD_UNIT")), message(entry.get("MESSAGE"))
    return Entry(at, unit.removesuffix(".service"), message(entry.get("_PID")), message(entry.get("PRIORITY")), said[:LONGEST])


def lines_of(entries: Iterable[Entry]) -> Iterator[Line]:
    """Entries, the oldest first, as lines. All of a traceback is as bad as an error."""
    inside: dict[tuple[str, str], bool] = {}  # by process, whether its last line was part of a traceback
    before: dict[tuple[str, str], str] = {}  # and the last one that was not
    for entry in entries:
        process = (entry.unit, entry.process)
        for part in entry.text.split("\n"):
            if part.startswith(TRACEBACK):
                inside[process] = True
            traced = inside.get(process, False)
            if traced and not part.startswith((" ", "\t", "Traceback")):
                inside[process] = False  # the exception itself ends it
            if traced:
                yield Line(entry.at, entry.unit, "error", part, before.get(process, ""))
            else:
                before[process] = part
                yield Line(entry.at, entry.unit, _level(part, entry.priority), part)


def bounded(stream: BinaryIO) -> Iterator[str]:
    """Lines of a stream, without those that are longer than an entry may be, up to so much of it: an app may write entries of any size."""
    left, whole = JOURNAL, True
    while left > 0 and (part := stream.readline(ENTRY)):
        left -= len(part)
        ends = part.endswith(b"\n")
        if whole and ends:
            yield part.decode("utf-8", "replace")
        whole = ends


def journal(app: App, wanted: Wanted) -> tuple[Iterator[Line], float]:
    """What the units of an app wrote, of all its releases, and what systemd says of them; and the moment before which nothing was read, 0 where all was."""
    scanned = wanted.lines if wanted.level == LEVELS[0] and not wanted.request else SCANNED
    command = ["journalctl", "--quiet", "--output=json", "--all", "--no-pager", "--output-fields=MESSAGE,PRIORITY,UNIT,_SYSTEMD_UNIT,_PID"]
    command += [f"--unit={app.name}@*", f"--unit={app.name}.*@*"]
    command += [f"--since=@{wanted.since:.6f}"] if wanted.since else []
    command += [f"--until=@{wanted.until:.6f}"] if wanted.until else []
    # Backwards: with --since the first lines are counted otherwise, by systemd 252
    command += ["--reverse", f"--lines={scanned}"]
    read, entries = 0, list[Entry]()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        for line in bounded(process.stdout):  # type: ignore[arg-type]  # it is a pipe
            read += 1
            if entry := parse_entry(line):
                entries.append(entry)
        whole = not process.stdout.read(1)  # type: ignore[union-attr]  # it is a pipe
        process.kill()  # it may have more to say than is read
    cut = entries and (not whole or (scanned != wanted.lines and read >= scanned))
    return lines_of(reversed(entries)), entries[-1].at if cut else 0.0


def _of_sites(line: str, host: str, name: str, domains: Sequence[str]) -> bool:
    """Whether a line of nginx's is about an app: the app has answered, or the request names its site."""
    sockets = set(re.findall(r"unix:/srv/([^/\s]+)/live\.sock", line))
    return name in sockets if sockets else host in domains


def access(name: str, domains: Sequence[str], wanted: Wanted, log: str = accesslog.LOG) -> Iterator[Line]:
    """Requests to an app, the last one first."""
    for line in accesslog.recent(wanted.since, log):
        found = ACCESS.match(line)
        if found and _of_sites(found["rest"], found["host"], name, domains):
            status = int(found["status"])
            yield Line(accesslog.moment(line), "nginx access", "error" if status >= 500 else "warning" if status >= 400 else "info", line)


def errors(name: str, domains: Sequence[str], wanted: Wanted, log: str = ERROR_LOG) -> Iterator[Line]:
    """What nginx complains of about an app, the last one first. Its times are the server's own."""
    for path in (log, f"{log}.1"):
        for line in backwards(path, MOST):
            found = ERROR.match(line)
            if not found:
                continue
            # A path with a line feed in it may be any text
            try:
                at = time.mktime(time.strptime(found[1], "%Y/%m/%d %H:%M:%S"))
            except (ValueError, OverflowError):
                continue
            if at < wanted.since:
                continue
            host = re.search(r', host: "([^":]*)', line)
            if _of_sites(line, host[1] if host else "", name, domains):
                yield Line(at, "nginx error", OF_NGINX.get(found[2], "error"), line[found.end() :])


def deploys(app: App) -> Iterator[Line]:
    """The log of deploys, the last one first."""
    for path in (app.history, f"{app.history}.1"):
        for line in backwards(path, MOST):
            try:
                told = json.loads(line)
                at = datetime.datetime.strptime(told["time"], "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC).timestamp()
            except (ValueError, KeyError, TypeError):
                continue
            bad = told.get("event") in ("failed", "back")
            who = f" by {told['by']} on {told.get('origin', '')}" if told.get("by") else ""
            to = f", back to {told['to']}" if told.get("to") else ""
            reason = f": {told['reason']}" if told.get("reason") else ""
            yield Line(at, "deploys", "error" if bad else "info", f"{told.get('event')} {told.get('release')}{who}{to}{reason}")


def read(app: App, domains: Sequence[str], wanted: Wanted) -> tuple[list[dict[str, object]], float]:
    """The last lines that the operator wants to see, in time order; and the moment before which the journal was not read, 0 where it was.

    :param domains: names of the app's site, where no other app has it, too.
    """
    found: deque[Line] = deque(maxlen=wanted.lines)
    cut = 0.0
    if "app" in wanted.sources:
        lines, cut = journal(app, wanted)
        found.extend(line for line in lines if wanted.takes(line))
        if len(found) == wanted.lines:  # that is all that the operator wants
            cut = 0.0
    parts = [list(found)]
    newest_first = {"access": access(app.name, domains, wanted), "error": errors(app.name, domains, wanted), "deploys": deploys(app)}
    for source in wanted.sources:
        if source in newest_first:
            parts.append([*itertools.islice(filter(wanted.takes, newest_first[source]), wanted.lines)][::-1])
    merged = list(heapq.merge(*(sorted(part, key=lambda line: line.at) for part in parts), key=lambda line: line.at))[-wanted.lines :]
    told: deque[dict[str, object]] = deque()
    left = SIZE
    for line in reversed(merged):
        left -= len(line.text[:LONGEST])
        if left < 0:
            break
        told.appendleft({"at": line.at, "source": line.source, "level": line.level, "text": line.text[:LONGEST]})
    return list(told), cut
