"""What is done in the background, and noted in the shared directory."""

import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from huey import SqliteHuey

SHARED = Path(os.environ["PLAINSTACK_SHARED"])
RELEASE = os.environ["PLAINSTACK_RELEASE"]

huey = SqliteHuey(filename=str(SHARED / "queue.sqlite3"))


def note(file: str, what: str) -> None:
    """Add a line."""
    with (SHARED / file).open("a", encoding="utf-8") as stream:
        stream.write(f"{time.time():.3f} {RELEASE} {what}\n")


@huey.task()
def pack(order: str, seconds: int) -> None:
    """A job."""
    note("jobs", f"begins {order}")
    time.sleep(seconds)
    note("jobs", f"ends {order}")


def clock() -> None:
    """What may run only once: told to stop, it takes a second for it."""

    def end(_signal: int, _frame: FrameType | None) -> None:
        time.sleep(1)
        note("clock", "ends")
        sys.exit()

    signal.signal(signal.SIGTERM, end)
    note("clock", "begins")
    while True:
        time.sleep(60)


def tick() -> None:
    """What a timer runs."""
    note("ticks", " ".join(sys.argv[1:]))
    time.sleep(2)
