"""Print once what a daily command has seen on all servers."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.plainstack.web.plugins.module_utils.controller import backup, command, doctor, logs, maintenance, releases, report, status
from ansible_collections.plainstack.web.plugins.module_utils.text import plain
from ansible_collections.plainstack.web.plugins.plugin_utils import outside, run
from ansible_collections.plainstack.web.plugins.plugin_utils.daily import ALONE, seen

FORMATS = ("text", "json")
WRONG_FORMAT = """format is '{format}': it must be text or json.
Where it is set: -e format=... of the command."""
NO_REPORT = """The report cannot be written to {path}: {why}
Where it is set: -e report=... of the command."""


class ActionModule(ActionBase):
    """Runs on the controller, once for all hosts."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """What was printed."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        plan, what = run.load(run.PLAN), self._task.args["what"]
        if not plan:
            return {**result, "failed": True, "msg": ALONE}
        found = seen(plan, what)
        if wrong := next((one["wrong"] for one in found.values() if one.get("wrong")), ""):
            return {**result, "failed": True, "msg": wrong}
        format_, failed = str(self._task.args.get("format") or FORMATS[0]), ""
        if format_ not in FORMATS:
            return {**result, "failed": True, "msg": WRONG_FORMAT.format(format=ascii(format_)[1:-1])}
        if what == "status":
            shown = status.text(found) if format_ == "text" else status.as_json(found, time.time())
            failed = self._report(plan, found)
        elif what == "releases":
            shown = releases.text(plan["apps"], found)
        elif what == "logs":
            shown = logs.text(found, logs.options(self._task.args)["lines"])
        elif what == "doctor":
            shown, failed = self._doctor(found, format_)
        elif what == "backup" and self._task.args["mode"] == "save":
            shown, failed = backup.saved(found)
        elif what == "backup":
            shown, failed = backup.restored(plan["apps"][0], found, self._task.check_mode)
        elif what == "maintenance":
            links = {name: maintenance.link(name, domain, plan["key"]) for name, domain in plan["domains"].items()}
            shown, failed = maintenance.text(str(self._task.args["mode"]), links, found, self._task.check_mode)
        else:
            shown, failed = command.text(plan["apps"][0], found)
        if shown:
            Display().display(shown)
        result.update(changed=False, shown=shown)
        return {**result, "failed": True, "msg": failed} if failed else result

    def _report(self, plan: Mapping[str, Any], seen: Mapping[str, Mapping[str, Any]]) -> str:
        """Write the page where one is wanted, and say why it could not be."""
        if not (given := str(self._task.args.get("report") or "")):
            return ""
        path = os.path.abspath(os.path.expanduser(given))
        try:
            with open(path, "w", encoding="utf-8") as stream:
                stream.write(report.page(seen, plan["balancers"], time.time()))
        except OSError as error:
            return NO_REPORT.format(path=plain(path), why=error.strerror)
        return ""

    def _doctor(self, seen: Mapping[str, Mapping[str, Any]], format_: str) -> tuple[str, str]:
        """What was found, and what the command fails with; empty where nothing is an error."""
        findings, notes = doctor.of_servers(seen), list[str]()
        if boolean(self._task.args.get("outside", True)):
            sites: dict[str, dict[str, Any]] = {}
            for one in seen.values():
                own = {*outside.resolve(one["address"]), *one.get("addresses", [])}
                serves = bool(one.get("set_up"))
                for name, default_issuer in one["names"].items():
                    site = sites.setdefault(name, {"domain": name, "own": set(), "proxied": False, "serves": True, "default_issuer": default_issuer})
                    site.update(own=site["own"] | own, proxied=site["proxied"] or one["proxied"], serves=site["serves"] and serves)
            more, notes = outside.look([{**site, "own": sorted(site["own"])} for site in sites.values()])
            findings += more
        shown = doctor.text(findings, notes) if format_ == "text" else doctor.as_json(findings, notes)
        return shown, "There is an error, see above." if any(one["level"] == doctor.ERROR for one in findings) else ""
