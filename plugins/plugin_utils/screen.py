"""Where a run is shown: lines on the terminal with the current one drawn again, and Ansible's whole output in a file."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any, TextIO

from ansible.utils.display import Display
from ansible_collections.plainstack.web.plugins.module_utils.controller.progress import WIDE

KEPT = 20  # logs
RECENT = 3600  # seconds since a log was written, in which its run may go on, or be looked into
CLEAR = "\r\x1b[K"


def directory() -> str:
    """Where the logs are."""
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "plainstack", "logs")


class Log:
    """A file for its user alone with what Ansible would have shown; where it cannot be written the run goes on without it."""

    def __init__(self) -> None:
        self.path = ""
        self._stream: TextIO | None = None
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        with contextlib.suppress(OSError):
            os.makedirs(directory(), mode=0o700, exist_ok=True)
            handle, self.path = tempfile.mkstemp(prefix=f"{moment}-", suffix=".log", dir=directory())  # mode 0600
            self._stream = os.fdopen(handle, "w", encoding="utf-8", errors="replace", buffering=1)
            for name in sorted(entry for entry in os.listdir(directory()) if entry.endswith(".log"))[:-KEPT]:
                old = os.path.join(directory(), name)
                with contextlib.suppress(OSError):
                    if time.time() - os.stat(old).st_mtime > RECENT:
                        os.unlink(old)

    @property
    def shown(self) -> str:
        """Its path as a user writes it."""
        home = os.path.expanduser("~")
        return f"~{self.path[len(home) :]}" if self.path.startswith(f"{home}/") else self.path

    def write(self, text: str) -> None:
        """Add a line, or several."""
        if self._stream:
            try:
                self._stream.write(f"{text}\n")
            except OSError:  # such as a full disk
                self.close()

    def close(self) -> None:
        """Nothing follows."""
        stream, self._stream = self._stream, None
        with contextlib.suppress(OSError):
            if stream:
                stream.close()


class Recorded(Display):
    """Ansible's Display for a callback: all goes to the log, and to the screen where it is `loud`."""

    def __init__(self, screen: Display, log: Log) -> None:
        self.__dict__.update(screen.__dict__)  # Ansible's own preparation is for the one that it has
        self._errors: set[str] = set()
        self._screen, self._file, self.loud = screen, log, False

    @classmethod
    def of(cls, screen: Display, log: Log) -> Recorded:
        """Ansible lets nobody else make one."""
        made: Recorded = object.__new__(cls)
        made.__init__(screen, log)  # type: ignore[misc]
        return made

    def display(self, msg: str, *given: Any, **options: Any) -> None:
        """Show a message where it is shown; `log_path` of ansible.cfg gets it in any case."""
        if self.loud:
            self._screen.display(msg, *given, **options)
        else:
            if not options.get("log_only"):
                self._file.write(msg)
            if not options.get("screen_only"):
                self._screen.display(msg, log_only=True)

    def _warning(self, *given: Any, **options: Any) -> None:
        """A warning is always shown."""
        self._screen._warning(*given, **options)

    def _deprecated(self, *given: Any, **options: Any) -> None:
        self._screen._deprecated(*given, **options)


class Screen:
    """The lines that stay, and below them on a terminal the one that goes on, drawn again each second.

    :param display: Ansible's; what anybody shows through it is shown above the current line, and is in the log.
    :param current: the current line at a moment, for a width.
    :param steady: whether it must not be drawn again now.
    """

    def __init__(self, display: Display, log: Log, current: Callable[[float, int], str], steady: Callable[[], bool]) -> None:
        self._display, self._log, self._current, self._steady = display, log, current, steady
        self._show, self._ask, self._process = display.display, display.prompt_until, os.getpid()
        self._drawn = self._held = False
        self._over = threading.Event()
        self._terminal = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        display.display, display.prompt_until = self._shown, self._asked
        if self._terminal:
            atexit.register(self.end)  # also after Ctrl-C
            threading.Thread(target=self._redraw, daemon=True).start()

    @property
    def width(self) -> int:
        """Columns of a line."""
        return shutil.get_terminal_size().columns if self._terminal else WIDE

    def say(self, text: str, color: str | None = None, stderr: bool = False) -> None:
        """Show lines that stay; they are no part of Ansible's output."""
        self.clear()
        self._show(text, color=color, stderr=stderr, screen_only=True)
        self._flush()

    def _flush(self) -> None:
        """Whoever follows a CI job sees it now."""
        if not self._terminal:
            with contextlib.suppress(OSError), self._display._lock:
                sys.stdout.flush()
                sys.stderr.flush()

    def draw(self) -> None:
        """Show the current line."""
        if self._terminal and not self._held:
            # Ansible forks with this lock held, so that no worker inherits half a line
            with contextlib.suppress(OSError), self._display._lock:
                if not self._over.is_set() and (text := self._current(time.monotonic(), self.width)):
                    # ssh and sudo, which may ask a question, write over it
                    sys.stdout.write(f"{CLEAR}{text}\r")
                    sys.stdout.flush()
                    self._drawn = True

    def clear(self) -> None:
        """Remove the current line."""
        if self._drawn:
            with contextlib.suppress(OSError), self._display._lock:
                sys.stdout.write(CLEAR)
                sys.stdout.flush()
                self._drawn = False

    def end(self) -> None:
        """Nothing is drawn any more."""
        if os.getpid() == self._process:
            with self._display._lock:
                self._over.set()
            self.clear()
            # Another playbook of the same run has its own
            for name, ours in (("display", self._shown), ("prompt_until", self._asked)):
                if vars(self._display).get(name) == ours:
                    delattr(self._display, name)

    def _redraw(self) -> None:
        while not self._over.wait(1):
            if not self._steady():
                self.draw()

    def _shown(self, msg: str, *given: Any, **options: Any) -> None:
        if os.getpid() == self._process and not options.get("log_only"):
            self.clear()
            self._log.write(msg)
        self._show(msg, *given, **options)
        if os.getpid() == self._process:
            self._flush()

    def _asked(self, *given: Any, **options: Any) -> Any:
        """A question stands alone until it is answered."""
        if os.getpid() != self._process:
            return self._ask(*given, **options)
        self.clear()
        self._held = True
        try:
            return self._ask(*given, **options)
        finally:
            self._held = False
