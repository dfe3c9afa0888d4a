"""A terminal that a command is run in, and what is to be seen in it afterwards."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path


def run(command: Sequence[str], directory: Path, environment: Mapping[str, str], columns: int = 120) -> tuple[int, str]:
    """Run a command in a terminal of so many columns: its exit status, and all that it wrote."""
    own, its = os.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    wanted = {"TERM": "xterm", **{name: value for name, value in environment.items() if name not in ("COLUMNS", "LINES")}}
    with subprocess.Popen(command, cwd=directory, env=wanted, stdin=subprocess.DEVNULL, stdout=its, stderr=its, start_new_session=True) as process:
        os.close(its)
        written = b""
        try:
            while block := os.read(own, 65536):
                written += block
        except OSError:  # nobody has it open any more
            pass
        finally:
            os.close(own)
    return process.returncode, written.decode()


def seen(written: str) -> list[str]:
    """The lines that are left: what was cleared is gone, and so are colours."""
    lines = [line.rstrip("\r").rpartition("\x1b[K")[2].split("\r")[0] for line in written.split("\n")]
    return [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]
