"""The module `release`: whose directory, user and data it finds."""

import json
import os
import pwd
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.plainstack.web.plugins.module_utils import sandbox
from ansible_collections.plainstack.web.plugins.module_utils.build import BuildError, Plan
from ansible_collections.plainstack.web.plugins.module_utils.shared import new_uid
from ansible_collections.plainstack.web.plugins.modules import release

from tests.unit.fakes import NEW, OLD, LocalApp, Systemd, make_live, real_root
from tests.unit.fakes import release as make_release

NOBODY = 942


@pytest.mark.parametrize("found", [[], ["releases", "live"], ["shared"]])
def test_a_directory_of_an_app(app: LocalApp, found: list[str]) -> None:
    for name in ("releases", "shared"):
        os.rmdir(f"{app.root}/{name}")
    for name in found:
        os.mkdir(f"{app.root}/{name}")
    assert release.taken(app) == ""


def test_a_directory_of_something_else(app: LocalApp) -> None:
    """Such as /srv/git, where no user is named so."""
    for name in ("releases", "shared"):
        os.rmdir(f"{app.root}/{name}")
    os.mkdir(f"{app.root}/project.git")
    assert "give the app another 'name'" in release.taken(app)


@real_root
def test_a_directory_that_is_not_of_root(app: LocalApp) -> None:
    os.chown(app.root, NOBODY, NOBODY)
    assert f"'chown root:root {app.root}'" in release.taken(app)


@real_root
@pytest.mark.parametrize(("where", "again"), [("srv/shared", True), ("removed/shared", False)])
def test_the_uid_of_a_new_user(app: LocalApp, where: str, again: bool) -> None:
    """Its own data's; never that of another app's data, whose user is gone."""
    assert new_uid(app.base, app.shared) == 0
    data = Path(app.base, where)
    data.mkdir(parents=True, exist_ok=True)
    os.chown(data, NOBODY, NOBODY)
    assert (new_uid(app.base, app.shared) == NOBODY) is again
    assert new_uid(app.base, app.shared) != 0
    assert new_uid(app.base) not in (0, NOBODY), "for the user that builds"


@real_root
def test_the_group_of_a_removed_apps_code_is_not_used_again(app: LocalApp) -> None:
    code = Path(app.base, "removed/releases/1")
    code.mkdir(parents=True)
    os.chown(code, 0, NOBODY)
    assert new_uid(app.base, app.shared) not in (0, NOBODY)


@pytest.mark.usefixtures("umask")
def test_the_directories_of_an_app_show_others_nothing(app: LocalApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """nginx may pass to the static files, and nobody but root and the app sees what is there."""
    for name in ("releases", "shared", ""):
        os.rmdir(f"{app.root}/{name}")
    monkeypatch.setattr(sandbox, "stop", lambda _app: None)
    monkeypatch.setattr(release, "build", lambda *_arguments: [])
    release.stage(Plan(app, NEW, "digest", "requirements.txt", "system", {}, ""), "/none", pwd.getpwuid(0))
    assert [oct(os.stat(path).st_mode & 0o7777) for path in (app.root, app.releases, app.shared)] == ["0o751", "0o751", "0o750"]


@pytest.mark.usefixtures("systemd")
@pytest.mark.parametrize("where", ["refused", "warned", "gone", "built", "failed"])
def test_a_name_of_a_file_does_nothing_to_a_terminal(app: LocalApp, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], where: str) -> None:
    """The app names what is in its `shared`, and a package what it leaves in a release."""
    told = "name\x1b[2J\x9b31m"
    warned: list[str] = []

    def stage(*_arguments: object) -> list[str]:
        if where == "failed":
            raise BuildError(told)
        return [told] if where == "built" else []

    stand_ins: dict[str, Any] = {
        "App": lambda _name: app,
        "owner": lambda _module, _app: pwd.getpwuid(0),
        "check_owners": lambda *_arguments: (told * (where == "refused"), told * (where == "warned")),
        "python_gone": lambda *_arguments: told * (where == "gone"),
        "find": lambda _plan: "",
        "stage": stage,
    }
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(release, name, stand_in)
    monkeypatch.setattr(AnsibleModule, "warn", lambda _self, text: warned.append(text))
    make_live(app, Systemd(), OLD)
    options = {"app": "hello", "archive": "/none", "id": NEW, "digest": "x", "requirements": "requirements.txt", "fetched": True}
    with patch_module_args(options), pytest.raises(SystemExit):
        release.main()
    result = json.loads(capsys.readouterr().out)
    said = "".join([result.get("msg", ""), *warned])
    assert ("name" in said, "\x1b" in said or "\x9b" in said) == (True, False)
    assert result.get("failed", False) is (where in ("refused", "failed"))


@pytest.mark.parametrize("identifier", ["../../etc", f"{NEW}/../x", f"{NEW}\n", "", "live"])
def test_an_id_that_is_none(app: LocalApp, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], identifier: str) -> None:
    """It may come from another server of the fleet, and becomes part of paths."""
    monkeypatch.setattr(release, "App", lambda _name: app)
    options = {"app": "hello", "archive": "/none", "id": identifier, "digest": "x", "requirements": "requirements.txt"}
    with patch_module_args(options), pytest.raises(SystemExit):
        release.main()
    assert json.loads(capsys.readouterr().out).get("msg") == f"hello: {identifier!r} is no id of a release."


@real_root
@pytest.mark.parametrize("state", ["active", "failed"])
def test_data_that_is_nobodys(app: LocalApp, systemd: Systemd, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], state: str) -> None:
    """Refused before anything else, with what is so of the live release."""
    os.chown(app.shared, NOBODY, NOBODY)
    Path(app.shared, "notes.db").touch()
    make_live(app, systemd, OLD)
    systemd.states[app.unit(OLD, "service")] = state
    user = pwd.struct_passwd(("hello", "x", 1234, 1234, "", app.root, "/bin/false"))
    monkeypatch.setattr(release, "App", lambda _name: app)
    monkeypatch.setattr(release, "owner", lambda _module, _app: user)
    options = {"app": "hello", "archive": "/none", "id": NEW, "digest": "x", "requirements": "requirements.txt"}
    with patch_module_args(options), pytest.raises(SystemExit):
        release.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert f"{app.shared} belongs to uid {NOBODY} (no user of this system)" in result["msg"]
    assert f"chown -hR hello:hello {app.shared}" in result["msg"]
    assert (f"{OLD} still serves." in result["msg"], f"{OLD} is live, but does not run: its unit is failed." in result["msg"]) == (
        state == "active",
        state == "failed",
    )


@pytest.mark.parametrize("diff", [True, False])
def test_a_plan(app: LocalApp, systemd: Systemd, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], diff: bool) -> None:
    """What would be live, once: a look that comes before the build shows no difference. And that the live one was built for a Python that is gone."""
    make_release(app, OLD, sequence=1, python="3.2.1")
    make_live(app, systemd, OLD)
    user = pwd.struct_passwd(("hello", "x", os.geteuid(), os.getegid(), "", app.root, "/bin/false"))
    monkeypatch.setattr(release, "App", lambda _name: app)
    monkeypatch.setattr(release, "owner", lambda _module, _app: user)
    warnings: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _module, message: warnings.append(message))
    options = {"app": "hello", "archive": "/none", "id": NEW, "digest": "x", "requirements": "requirements.txt"}
    with patch_module_args({**options, "_ansible_check_mode": True, "_ansible_diff": diff}), pytest.raises(SystemExit):
        release.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (result["changed"], result["id"]) == (True, NEW)
    assert (result["diff"].get("before"), result["diff"].get("after")) == ((f"{OLD}\n", f"{NEW}\n") if diff else (None, None))
    doomed = f"The live release will not survive a restart. hello: the release {OLD} was built for Python 3.2"
    assert [warning.startswith(doomed) for warning in warnings] == [True]
