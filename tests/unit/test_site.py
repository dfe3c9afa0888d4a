"""Whether apps are healthy on a host, as upgrade.yml wants to know it after a reboot."""

import json
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.plainstack.web.plugins.module_utils.host import processes
from ansible_collections.plainstack.web.plugins.modules import site

from tests.unit.fakes import NEW, Answers, LocalApp, Systemd, make_live, release


@pytest.mark.parametrize("nginx", [True, False])
@pytest.mark.parametrize(("down", "answer", "wrong"), [("", "", ""), ("hello.worker.1@x.service", "", "does not run"), ("", "answered 500", "answered 500")])
def test_an_app_and_its_processes(
    app: LocalApp, systemd: Systemd, monkeypatch: pytest.MonkeyPatch, capsys: Any, nginx: bool, down: str, answer: str, wrong: str
) -> None:
    """Through nginx, or where a worker server has none over the release's own socket."""
    through, own = Answers([answer]), Answers([answer])
    release(app, NEW, sequence=1)
    make_live(app, systemd, NEW)
    for name, value in {"ask_nginx": through, "ask_instance": own, "App": lambda _name: app}.items():
        monkeypatch.setattr(site, name, value)
    monkeypatch.setattr(processes, "down", lambda *_given: down)
    with patch_module_args({"sites": [{"name": "hello", "host": "hello.test", "path": "/up", "nginx": nginx}]}), pytest.raises(SystemExit):
        site.main()
    result = json.loads(capsys.readouterr().out)
    assert bool(result.get("failed")) is bool(wrong)
    assert wrong in "".join(result["wrong"])
    assert (bool(through.asked), bool(own.asked)) == (nginx and not down, not nginx and not down)


def test_a_process_that_does_not_run(app: LocalApp, systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was restarted and runs is no fault any more."""
    monkeypatch.setattr(processes, "has", lambda *_given: True)
    unit = f"hello.worker.1@{NEW}.service"
    systemd.states[unit], systemd.restarts[unit] = "active", 3
    assert processes.down(app, NEW) == ""
    systemd.states[unit] = "activating"
    assert processes.down(app, NEW) == unit
