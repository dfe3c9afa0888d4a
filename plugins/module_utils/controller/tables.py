"""Tables, ages and sizes as people read them. Pure functions."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def table(rows: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """The rows as lines with aligned columns; the first row has their names."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def duration(seconds: float) -> str:
    """A time in its largest unit, rounded down: `3 d`."""
    size, name = next(((size, name) for size, name in UNITS if seconds >= size), (1, "s"))
    return f"{max(int(seconds // size), 0)} {name}"


def moment(text: str) -> float | None:
    """Seconds since 1970 of a time as release.json and the log of deploys have it, `20261127T140000Z`; None where it is none."""
    try:
        return datetime.datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC).timestamp()
    except ValueError:
        return None


def age(text: str, now: float) -> str:
    """How long such a time is ago; `-` where it is none."""
    at = moment(text)
    return "-" if at is None else duration(now - at)


def size(count: float) -> str:
    """Bytes in MiB or GiB."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def seconds(value: float) -> str:
    """A short time: `12 ms`, `1.3 s`."""
    return f"{value:.1f} s" if value >= 1 else f"{value * 1000:.0f} ms"


def commit(revision: str, dirty: bool) -> str:
    """A git commit, with a plus where the source differed from it; `-` where there is none."""
    return f"{revision[:8]}{'+' if dirty else ''}" if revision else "-"
