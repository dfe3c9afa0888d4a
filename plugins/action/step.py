"""Run a module that is a step of a run, and note on this machine that the lock has been renewed by it."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from ansible import constants as C  # type: ignore[attr-defined]
from ansible.plugins.action import ActionBase


def _note(token: str) -> str:
    return f"{C.DEFAULT_LOCAL_TMP}/beat-{token}"


def renewed(token: str) -> None:
    """The host has just had a sign of life of the run."""
    if token:
        with open(_note(token), "w", encoding="utf-8") as stream:
            stream.write(str(time.monotonic()))


def silence(token: str) -> float:
    """Seconds since then; very many where there was none."""
    with contextlib.suppress(OSError, ValueError), open(_note(token), encoding="utf-8") as stream:
        return time.monotonic() - float(stream.read())
    return float("inf")


class ActionModule(ActionBase):
    """What the actions `instance`, `hook` and `rollback` are."""

    def arguments(self) -> dict[str, Any]:
        """The options for the module."""
        return dict(self._task.args)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result."""
        super().run(tmp, task_vars)
        result: dict[str, Any] = self._execute_module(self._task.action, self.arguments(), task_vars=task_vars)
        if not self._task.check_mode and not result.get("failed"):
            renewed(self._task.args.get("run", ""))
        return result
