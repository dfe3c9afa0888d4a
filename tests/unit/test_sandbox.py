"""The unit that builds: what it may, what its arguments show, and that nothing of it is left."""

import os
import pwd
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.host import memory, sandbox
from ansible_collections.plainstack.web.plugins.module_utils.host import systemd as systemd_module
from ansible_collections.plainstack.web.plugins.module_utils.layout import App

from tests.unit.fakes import NEW


def record(calls: list[tuple[str, ...]], answer: str) -> Callable[..., str]:
    """A systemctl that notes what it is called with."""

    def systemctl(*words: str, check: bool = True) -> str:
        calls.append(words)
        return answer

    return systemctl


@pytest.mark.parametrize("uid", [0, 942])
def test_the_user_that_builds_gets_no_uid_whose_data_is_there(monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    made: list[list[str]] = []

    def find(_name: str) -> pwd.struct_passwd:
        if not made:
            raise KeyError
        return pwd.struct_passwd((sandbox.USER, "x", 999, 999, "", "/nonexistent", ""))

    monkeypatch.setattr(pwd, "getpwnam", find)
    monkeypatch.setattr(sandbox, "new_uid", lambda _apps: uid)
    monkeypatch.setattr(subprocess, "run", lambda command, **_options: made.append(command))
    assert sandbox.user().pw_name == sandbox.USER
    [command] = made
    assert (command[-3:] == ["--uid", "942", sandbox.USER], "--uid" in command) == (uid != 0, uid != 0)


@pytest.mark.parametrize(("home", "uid"), [("/home/build", 1000), ("/nonexistent", 0)])
def test_a_user_of_somebody_elses_does_not_build(monkeypatch: pytest.MonkeyPatch, home: str, uid: int) -> None:
    """Least of all root under another name."""
    monkeypatch.setattr(pwd, "getpwnam", lambda _name: pwd.struct_passwd((sandbox.USER, "x", uid, uid, "", home, "")))
    with pytest.raises(OSError, match="belongs to something else"):
        sandbox.user()


def test_the_unit_writes_one_release_and_one_cache(app: App) -> None:
    words = sandbox.words(app, NEW, [["uv", "a b"], ["echo", "$HOME"]], "/run/file", 1000)
    assert [word for word in words if "BindPaths" in word] == [f"--property=BindPaths={app.release(NEW)}", f"--property=BindPaths={app.cache}"]
    assert words[-3:] == ["/bin/sh", "-ec", "uv 'a b'\necho '$$HOME'"]


@pytest.mark.parametrize(
    ("script", "result", "outcome"),
    [
        ("echo hello; exit 0", "success", ("success", "hello")),
        ("echo broken >&2; exit 1", "exit-code", ("exit-code", "broken")),
        ("echo no such unit >&2; exit 1", "success", ("exit-code", "no such unit")),
        ("exit 137", "oom-kill", ("oom-kill", "")),
        ("head -c 300000 /dev/zero | tr '\\0' x; echo; echo the end", "success", ("success", "the end")),
        ("echo https://me:hunter22@index/ and tok-en-1; printf '\\377'", "success", ("success", "https://****@index/ and ****\n\N{REPLACEMENT CHARACTER}")),
        ("printf '\\033]0;title\\007'; exit 1", "exit-code", ("exit-code", r"\x1b]0;title\x07")),
    ],
    ids=["good", "broken", "not started", "out of memory", "much output", "secrets", "an escape sequence"],
)
def test_run(app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, result: str, outcome: tuple[str, str]) -> None:
    calls: list[tuple[str, ...]] = []
    seen: list[str] = []
    file = tmp_path / "run-directory"
    file.mkdir()

    def words(_app: App, _identifier: str, _commands: object, environment: str, _limit: int) -> list[str]:
        seen.append(f"{os.stat(environment).st_mode & 0o777:o} {Path(environment).read_text()}")
        return ["/bin/sh", "-c", script]

    monkeypatch.setattr(memory, "available", lambda: 2**30)
    monkeypatch.setattr(sandbox, "words", words)
    monkeypatch.setattr(sandbox, "RUN", str(file))
    monkeypatch.setattr(systemd_module, "systemctl", record(calls, f"Result={result}"))
    environment = {"UV_DEFAULT_INDEX": "https://me:hunter22@index/", "UV_INDEX_X_PASSWORD": "tok-en-1"}
    done = sandbox.run(app, NEW, [["uv"]], environment)
    assert (done.result, done.output[-len(outcome[1]) :] if outcome[1] else done.output) == outcome
    assert len(done.output) <= sandbox.SHOWN
    assert seen == ['600 UV_DEFAULT_INDEX="https://me:hunter22@index/"\nUV_INDEX_X_PASSWORD="tok-en-1"\n']
    assert os.listdir(file) == []
    assert [words[0] for words in calls] == ["show", "stop", "reset-failed"]


def test_an_interrupted_run_stops_the_unit(app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, ...]] = []

    def interrupt(*_words: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(memory, "available", lambda: 0)
    monkeypatch.setattr(sandbox, "RUN", str(tmp_path))
    monkeypatch.setattr(subprocess, "Popen", interrupt)
    monkeypatch.setattr(systemd_module, "systemctl", record(calls, ""))
    with pytest.raises(KeyboardInterrupt):
        sandbox.run(app, NEW, [["uv"]], {"A": "secret"})
    assert [words[0] for words in calls] == ["stop", "reset-failed"]
    assert [name for name in os.listdir(tmp_path) if "environment" in name] == []
