"""A rollout as a person follows it: a line a phase, and Ansible's own output in a file."""

from __future__ import annotations

DOCUMENTATION = r"""
name: rollout
type: stdout
short_description: A line for each phase of a rollout; Ansible's output in a file
version_added: "0.2.0"
author: Plainstack contributors (!UNKNOWN)
description:
  - Of a rollout (C(deploy.yml), C(rollback.yml), C(scale.yml), C(upgrade.yml), also of C(teardown)) each phase is one line, with the servers on
    which something was done and how long it took. On a terminal the current line is drawn again each second. Then come the result and Ansible's
    figures in one line.
  - A task that fails shows its error alone. With C(--check) the tasks that would change something are listed, with C(--diff) the differences.
  - Of the other playbooks of the collection only the results and errors are shown.
  - Plays from elsewhere, and all plays with C(-v), are shown as by P(ansible.builtin.default#callback), except that each error of Plainstack comes once.
  - What P(ansible.builtin.default#callback) would have shown is in a file of mode 0600 in C(~/.cache/plainstack/logs), or C(plainstack/logs) in
    E(XDG_CACHE_HOME). The run names it at the end. The last 20 are kept, and those of the last hour. What C(no_log) hides is hidden there too.
  - E(ANSIBLE_STDOUT_CALLBACK=ansible.builtin.default) brings back Ansible's output for one run.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
requirements:
  - set as C(stdout_callback)
"""

import os
import time
from pathlib import Path
from typing import Any

from ansible import constants as C  # type: ignore[attr-defined]
from ansible import context  # type: ignore[attr-defined]
from ansible.plugins.callback.default import CallbackModule as Default
from ansible.utils.display import Display
from ansible_collections.plainstack.web.plugins.module_utils.controller import progress
from ansible_collections.plainstack.web.plugins.module_utils.controller.progress import CHANGED, FAILED, FOREIGN, LOST, OK, ROLLOUT
from ansible_collections.plainstack.web.plugins.plugin_utils.screen import Log, Recorded, Screen

PLAYBOOKS = os.path.realpath(Path(__file__).parents[2] / "playbooks")
COLLECTION = "plainstack.web."


def rescue_of(task: Any) -> list[Any]:
    """The tasks of the rescue that a failure of the task leads to; empty where it leads to none, as from within the rescue itself."""
    inside, around = task, task._parent
    while around:
        tasks = [one for part in getattr(around, "rescue", None) or [] for one in (part, *getattr(part, "block", []))]
        if tasks and inside._uuid not in {one._uuid for one in tasks}:
            return tasks
        inside, around = around, around._parent
    return []


def undone(task: Any) -> bool:
    """Whether a failure of the task takes the rollout back: the run then ends with what the task says."""
    rescue = rescue_of(task)
    return bool(rescue) and all(getattr(one, "action", "") != f"{COLLECTION}failed" for one in rescue)


def title(task: Any) -> str:
    """The task's name, without its role's."""
    return str(task.get_name()).rpartition(" : ")[2].strip()


class CallbackModule(Default):
    """See the documentation."""

    CALLBACK_NAME = "plainstack.web.rollout"

    def __init__(self) -> None:
        super().__init__()
        self._began = time.monotonic()
        self._kind = FOREIGN  # of the play
        self._kinds: set[str] = set()
        self._title = ""
        self._said: set[str] = set()
        self._messages: list[str] = []
        self._hosts: set[str] = set()  # one alone needs no name
        self._screen: Screen | None = None
        self._log: Log | None = None
        self._progress = progress.Progress()

    # What Ansible's own callback shows is recorded, and shown where a play is somebody else's

    def _open(self) -> None:
        """The first play of ours: what Ansible would show is recorded from here on."""
        self._progress = progress.Progress(check=bool(context.CLIARGS.get("check")))
        display, self._log = Display(), Log()
        self._display = Recorded.of(display, self._log)
        self._screen = Screen(display, self._log, self._progress.current, lambda: self._progress.steady)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Find out whose it is."""
        self._finish()
        if not self._display.verbosity:
            path = os.path.realpath(play.get_path().rpartition(":")[0])
            self._kind, self._title = progress.kind(path, PLAYBOOKS, play.vars), play.get_name().strip()
            self._kinds.add(self._kind)
            if self._kind and not self._screen:
                self._open()
            if self._screen:
                self._display.loud = self._kind == FOREIGN
        super().v2_playbook_on_play_start(play)

    def _finish(self) -> None:
        """The phase ends."""
        if self._screen:
            self._ended(self._progress.finish(time.monotonic(), self._screen.width))

    def _ended(self, lines: list[str]) -> None:
        """The lines of a phase that has ended, and what was said in it."""
        messages, self._messages = (self._messages, []) if lines or not self._progress.name else ([], self._messages)
        self._say([*lines, *messages])

    def _say(self, lines: list[str]) -> None:
        for line in lines:
            self._screen.say(line) if self._screen else None

    def _fail(self, text: str) -> None:
        """Show an error, once."""
        if self._screen and text not in self._said:
            self._said.add(text)
            space = "\n" if self._kind == ROLLOUT else ""
            self._screen.say(space + text, color=C.COLOR_ERROR, stderr=self.get_option("display_failed_stderr"))

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """It may begin a phase."""
        super().v2_playbook_on_task_start(task, is_conditional)
        if self._screen and self._kind == ROLLOUT:
            role = task._role.get_name() if task._role else ""
            role, action = role.removeprefix(COLLECTION), str(task.resolved_action or task.action).removeprefix(COLLECTION)
            step = task.args.get("step", "") if isinstance(task.args, dict) else ""
            name = progress.phase(self._title, role, action, str(step), self._progress.name)
            self._ended(self._progress.task(name, time.monotonic(), self._screen.width))
            self._screen.draw()

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """The task begins on a host."""
        super().v2_runner_on_start(host, task)
        self._progress.started(host.get_name())
        self._hosts |= {host.get_name()} - {"localhost"}

    def _done(self, result: Any, outcome: str) -> None:
        said = result.result
        if outcome == OK and said.get("changed"):
            outcome = CHANGED
        elif outcome == OK and not (said.get("apps") and result.task.resolved_action == f"{COLLECTION}step") and self._progress.name not in progress.SERVERS:
            outcome = ""  # nothing to speak of
        where = progress.LOCAL if result.task.run_once else result.host.get_name()  # not on that host
        self._progress.done(where, outcome, title(result.task), [*(said.get("along") or {})])
        if self._screen and not self._progress.steady:
            self._screen.draw()

    def v2_runner_on_ok(self, result: Any) -> None:
        """A result that its action wants to be seen is shown as it is."""
        if self._kind:
            self._done(result, OK)
            if self._screen and result.result.get("_ansible_verbose_always") and (said := result.result.get("msg")):
                if self._progress.name:
                    self._messages.append(str(said))  # below the line of the phase
                else:
                    self._screen.say(f"\n{said}" if self._kind == ROLLOUT else str(said))
        super().v2_runner_on_ok(result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        """Nothing to do on a host."""
        self._progress.done(result.host.get_name(), "")
        super().v2_runner_on_skipped(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """The error alone, once."""
        action, said = result.task.resolved_action or "", str(result.result.get("msg", ""))
        if self._kind:
            self._done(result, OK if ignore_errors else FAILED)
            looped = bool(result.task.loop and "results" in result.result)  # its items have said it
            if not ignore_errors and not looped and not undone(result.task):
                self._told(result)
        elif action.startswith(COLLECTION) and "\n" in said:
            # An error of ours says itself where it is set
            result.result.pop("exception", None)
            if action == f"{COLLECTION}step" and rescue_of(result.task):
                result.result.clear()
                result.result["msg"] = said.splitlines()[0]
        super().v2_runner_on_failed(result, ignore_errors)

    def _told(self, result: Any) -> None:
        text, host = progress.cause(result.result, title(result.task)), result.host.get_name()
        ours = (result.task.resolved_action or "").startswith(COLLECTION) and "\n" in text
        self._finish()
        named = text.startswith(host) or host == progress.LOCAL or result.task.run_once or (ours and len(self._hosts) == 1)
        self._fail(text if named else f"{host}: {text}")

    def v2_runner_item_on_failed(self, result: Any) -> None:
        """Of a loop the item that failed."""
        if self._kind and not result.task.ignore_errors:
            self._told(result)
        super().v2_runner_item_on_failed(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """The connection to a server has ended."""
        if self._kind:
            ignored = result.task.ignore_unreachable
            self._done(result, OK if ignored else LOST)
            if not ignored:
                self._fail(f"{result.host.get_name()} was lost: {progress.cause(result.result, title(result.task))}")
        super().v2_runner_on_unreachable(result)

    def v2_on_file_diff(self, result: Any) -> None:
        """What C(--diff) is for."""
        if self._screen and self._kind and "diff" in result.result and result.result.get("changed") and (text := self._get_diff(result.result["diff"])):
            self._screen.say(f"{result.host.get_name()}: {title(result.task)}\n{text}")
        super().v2_on_file_diff(result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """How it went."""
        self._finish()
        if self._screen:
            self._display.loud = FOREIGN in self._kinds
        super().v2_playbook_on_stats(stats)
        if self._screen and self._log:
            totals = progress.totals([stats.summarize(host) for host in stats.processed])
            failed = bool(totals["failed"] or totals["unreachable"])
            if ROLLOUT in self._kinds or failed:
                seconds = time.monotonic() - self._began
                lines = progress.end(seconds, totals, bool(context.CLIARGS.get("check")), self._log.shown)
                self._say(["", *lines] if ROLLOUT in self._kinds else lines[1:])
            self._screen.end()
            self._log.close()
        # Another playbook may follow
        self._began, self._kinds, self._screen, self._display = time.monotonic(), set(), None, Display()
