"""What systemd says, read from programs of its names that only pretend."""

import builtins
import io
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.host import systemd
from ansible_collections.plainstack.web.plugins.module_utils.host.systemd import InstanceError, limit, log, memory, running, show, systemctl
from ansible_collections.plainstack.web.plugins.module_utils.layout import App

UNITS = """\
hello@20260102T000000Z-bbbbbbbb.service loaded active running hello
hello@20260102T000000Z-bbbbbbbb.socket  loaded active running Socket of hello
hello@20260101T000000Z-aaaaaaaa.service loaded failed failed  hello
hello@20260103T000000Z-cccccccc.socket  loaded active listening Socket of hello"""


@pytest.fixture(autouse=True)
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemctl and a journalctl that write down how they were called and then do what `says` has them do."""
    for name in ("systemctl", "journalctl"):
        (tmp_path / name).write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/arguments\n. {tmp_path}/says\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def says(programs: Path, script: str) -> None:
    (programs / "says").write_text(script)


def arguments(programs: Path) -> list[str]:
    return (programs / "arguments").read_text().splitlines()


def test_systemctl(programs: Path) -> None:
    says(programs, "echo enabled")
    assert systemctl("is-enabled", "a.service") == "enabled"
    assert arguments(programs) == ["is-enabled", "a.service"]


@pytest.mark.parametrize("stream", [">&2", ""])
def test_what_it_complains_about(programs: Path, stream: str) -> None:
    says(programs, f"echo no such unit {stream}; exit 5")
    with pytest.raises(InstanceError, match=r"^systemctl start a\.service failed: no such unit$"):
        systemctl("start", "a.service")
    systemctl("stop", "a.service", check=False)


def test_what_it_complains_about_does_nothing_to_a_terminal(programs: Path) -> None:
    says(programs, "printf '\\033[2Jgone' >&2; exit 5")
    with pytest.raises(InstanceError, match=r"failed: \\x1b\[2Jgone$"):
        systemctl("start", "a.service")


def test_properties(programs: Path) -> None:
    says(programs, "echo ActiveState=active; echo Environment=A=1 B=2; echo Result=")
    assert show("a.service", "ActiveState", "Environment", "Result") == {"ActiveState": "active", "Environment": "A=1 B=2", "Result": ""}
    assert arguments(programs) == ["show", "a.service", "--property=ActiveState,Environment,Result"]


def test_the_log(programs: Path) -> None:
    says(programs, 'printf "\\n  indented\\nlast\\n\\n"')
    assert log("a.service", 7) == "  indented\nlast"
    assert arguments(programs) == ["--unit=a.service", "--output=cat", "--no-pager", "--lines=1000"]
    says(programs, "seq 30")
    assert log("a.service", 2) == "29\n30"
    says(programs, "printf '%40000d\n' 1; echo 2")
    assert log("a.service") == " " * 2000 + "\n2"


def test_the_log_does_nothing_to_a_terminal(programs: Path) -> None:
    says(programs, "printf '\\033]0;title\\007\\033[2Jgone \\377\\n'")
    assert log("a.service") == r"\x1b]0;title\x07\x1b[2Jgone " + "\N{REPLACEMENT CHARACTER}"


def test_the_log_of_an_app_that_died_has_its_last_words(programs: Path) -> None:
    """Whatever the number of its workers: a line tells of each that is killed, and of each that is started again."""
    killed, booted = "a.service: Killing process $i (gunicorn) with signal SIGKILL.", "[2026-11-22 22:56:20 +0000] [$i] [INFO] Booting worker with pid: $i"
    says(programs, f'echo database is gone; for i in $(seq 64); do echo "{killed}"; done; echo failed; for i in $(seq 64); do echo "{booted}"; done')
    assert log("a.service") == "database is gone\nfailed"


def test_the_log_of_a_process_that_ended_is_not_that_of_the_next(programs: Path) -> None:
    again = "a.service: Scheduled restart job, restart counter is at"
    says(programs, f'echo "database is gone"; echo "{again} 1."; echo still gone; echo "{again} 2."; echo Starting; seq 30')
    assert log("a.service", 2, ended=True) == f"{again} 1.\nstill gone"
    assert log("a.service", 2) == "29\n30"
    says(programs, "echo database is gone")
    assert log("a.service", ended=True) == "database is gone"


GONE = 'Traceback (most recent call last):\n  File "wsgi.py", line 1, in <module>\n    import nowhere\nModuleNotFoundError: {}'
WHILE = "\nDuring handling of the above exception, another exception occurred:\n"
WORKERS = """\
[2026-11-22 22:56:20 +0000] [{pid}] [INFO] Booting worker with pid: {pid}
[2026-11-22 22:56:20 +0000] [{pid}] [ERROR] Exception in worker process
{error}
[2026-11-22 22:56:20 +0000] [{pid}] [INFO] Worker exiting (pid: {pid})
"""


@pytest.mark.parametrize(
    "error",
    [GONE.format("no nowhere"), GONE.format("one") + WHILE + GONE.format("two"), GONE.format("one") + WHILE.replace("\n", "\n\n") + GONE.format("two")],
)
def test_a_traceback_of_every_worker_is_there_once(programs: Path, error: str) -> None:
    text = "first words\n" + "".join(WORKERS.format(pid=pid, error=error) for pid in range(9)) + "last words\n"
    (programs / "text").write_text(text)
    says(programs, f"cat {programs}/text")
    assert log("a.service") == f"first words\n{error}\nlast words"


def test_gunicorn_does_not_push_the_words_of_its_workers_out(programs: Path) -> None:
    """Where several workers fail at a time its own traceback is longer than what is shown."""
    halted = [
        f"Traceback (most recent call last):\n{'  File a.py' * 40}\ngunicorn.errors.HaltServer: <HaltServer 'Worker failed to boot.' 3>" for _ in range(2)
    ]
    (programs / "text").write_text(f"it is an ASGI app\n{halted[0]}\n{WHILE}\n{halted[1]}\nFailed with result 'exit-code'.\n")
    says(programs, f"cat {programs}/text")
    assert log("a.service", 2) == "it is an ASGI app\nFailed with result 'exit-code'."


def test_tracebacks_that_differ_are_all_there(programs: Path) -> None:
    (programs / "text").write_text("\n".join(GONE.format(word) for word in ("one", "two", "one")) + "\n")
    says(programs, f"cat {programs}/text")
    assert log("a.service") == GONE.format("two") + "\n" + GONE.format("one")


@pytest.mark.parametrize(("says_", "bytes_"), [("MemoryMax=1048576", 1048576), ("MemoryMax=infinity", None), ("", None)])
def test_a_limit(programs: Path, says_: str, bytes_: int | None) -> None:
    says(programs, f"echo {says_}" if says_ else "")
    assert limit("a.service") == bytes_


@pytest.mark.parametrize(("units", "found"), [(UNITS, ["20260101T000000Z-aaaaaaaa", "20260102T000000Z-bbbbbbbb", "20260103T000000Z-cccccccc"]), ("", [])])
def test_what_runs(programs: Path, units: str, found: list[str]) -> None:
    says(programs, f"cat <<END\n{units}\nEND")
    assert running(App("hello")) == found
    assert arguments(programs)[-1] == "hello@*"
    # Also what has failed, or is about to be restarted: it is there, and must be stopped one day
    assert "--state=active,activating,deactivating,reloading,failed" in arguments(programs)


@pytest.mark.parametrize("root", ["/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"])
def test_what_an_instance_holds(monkeypatch: pytest.MonkeyPatch, root: str) -> None:
    """Of each process its share of the pages; one that has just ended counts nothing."""
    files = {
        f"{root}/system.slice/a.service/cgroup.procs": "11\n12\n13\n",
        "/proc/11/smaps_rollup": "55d0-7fff ---p\nRss:    4000 kB\nPss:    1000 kB\nPss_Anon:  900 kB\n",
        "/proc/12/smaps_rollup": "Pss:     500 kB\n",
    }

    def fake_open(path: str, **_arguments: Any) -> io.StringIO:
        if path not in files:
            raise FileNotFoundError(path)
        return io.StringIO(files[path])

    monkeypatch.setattr(systemd, "systemctl", lambda *arguments: "ControlGroup=/system.slice/a.service")
    monkeypatch.setattr(builtins, "open", fake_open)
    assert memory(App("hello"), "1") == 1500 * 1024
    files.clear()
    assert memory(App("hello"), "1") == 0
