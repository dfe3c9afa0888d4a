"""Bad releases: no traffic for them, the old release serves, the error has the app's own words, and once it is mended the same command works."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from clients import Load
from support import MARKER, Site, check_message, traces
from vm import IN_FLIGHT, Mend, Served, Serving, Tidy, Vm


@dataclass(frozen=True)
class Fault:
    """How a release is broken, and words that the error must have besides those that every error has.

    `kept`: it was built and is nothing to go back to, but the same command goes on with it. `start_timeout` is the app's.
    """

    break_: Callable[[Site], object]
    words: list[str]
    where: str = "Where it is set"
    kept: bool = False
    start_timeout: int = 4


def _edit(name: str, old: str, new: str) -> Callable[[Site], object]:
    return lambda site: site.edit(name, old, new)


def _after_import(code: str) -> Callable[[Site], object]:
    return _edit("wsgi.py", "create_app()", f"create_app()\n{code}")


def _without_gunicorn(site: Site) -> None:
    path = site.source / "requirements.txt"
    lock = path.read_text(encoding="utf-8")
    without = re.sub(r"^gunicorn==.*?(?=^[a-z])", "", lock, flags=re.DOTALL | re.MULTILINE)
    assert without != lock
    path.write_text(without, encoding="utf-8")


def _index_down(site: Site) -> None:
    """Something new is required, and nobody answers where it should come from."""
    with (site.source / "requirements.txt").open("a", encoding="utf-8") as lock:
        lock.write(f"tomli==2.0.1 --hash=sha256:{'0' * 64}\n")
    site.variables["build_environment"] = {"UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple", "UV_HTTP_RETRIES": "0"}


FAULTS = {
    "raises on import": Fault(
        _after_import("raise ValueError('broken on purpose')"), ["did not become healthy", "its process ended while starting", "ValueError: broken on purpose"]
    ),
    "wrong health": Fault(_edit("hello/views.py", 'return "ok", 200, text', 'return "not well", 500, text'), ["/healthz answered 500 within 4 s"]),
    "refuses, without an end and with an escape sequence": Fault(
        _edit("hello/views.py", 'return "ok", 200, text', r'print("\x1b[2Jgone", flush=True); return iter(lambda: "x" * 65536, None), 403, text'),
        ["/healthz of hello.test answered 403 for 5 s. It must answer without a login", r"\x1b[2Jgone"],
        start_timeout=60,
    ),
    "hangs": Fault(_edit("hello/views.py", '"""Whether this process', 'time.sleep(100)\n    """Whether this process'), ["/healthz gave no answer"]),
    "wrong module": Fault(lambda site: site.app.update(module="nowhere:app"), ["No module named 'nowhere'"]),
    "needs a variable": Fault(_after_import("__import__('os').environ['DATABASE_URL']"), ["KeyError: 'DATABASE_URL'"]),
    "wrong hash": Fault(
        _edit("requirements.txt", "--hash=sha256:", "--hash=sha256:00000000"), ["the environment could not be built from requirements.txt", "uv says:"]
    ),
    "no Gunicorn": Fault(_without_gunicorn, ["requirements.txt brings no gunicorn", "add gunicorn>=23 to the app's requirements"], where=""),
    "index down": Fault(_index_down, ["could not be built from requirements.txt", "http://127.0.0.1:9/simple"]),
    "migration fails": Fault(
        lambda site: site.app.update(migrate="echo 'no such table: users'; exit 3"),
        ["the hook 'migrate' failed with exit code 3", "no such table: users", "the hook is then run again"],
        kept=True,
    ),
}


def answered(visitors: Load) -> set[str]:
    """The releases that visitors have seen."""
    return {response.release for response in visitors.responses()}


@pytest.mark.parametrize("name", FAULTS)
def test_broken_release_gets_no_traffic(vm: Vm, site: Site, served: Served, tidy: Tidy, mend: Mend, name: str) -> None:
    before, fault = vm.look(), FAULTS[name]
    fault.break_(site)
    site.app["start_timeout"] = fault.start_timeout
    with served() as visitors:
        run = site.deploy()
    check_message(run, *fault.words, "still serves", fault.where, "Next: ")
    assert "\x1b" not in run.output
    assert answered(visitors) == {before.live}
    after = tidy()
    assert after.live == before.live
    assert len(after.releases) - len(before.releases) == int(fault.kept), "something of the broken release is still there"

    mend()
    with served():
        assert site.deploy().code == 0
    assert tidy().live != before.live


def test_slow_import_is_waited_for(vm: Vm, site: Site, served: Served, tidy: Tidy) -> None:
    before = vm.live()
    _after_import("__import__('time').sleep(10)")(site)
    with served() as visitors:
        assert site.deploy().code == 0
    assert answered(visitors) == {before, tidy().live}


def test_release_that_dies_while_it_is_watched_goes_back_by_itself(vm: Vm, site: Site, served: Served, serving: Serving, tidy: Tidy, mend: Mend) -> None:
    before = vm.live()
    dies = """
        import os, threading, time
        def end():
            while os.environ["PLAINSTACK_RELEASE"] not in os.readlink("/srv/hello/live"):
                time.sleep(0.1)
            time.sleep(5)
            print("database is gone", flush=True)
            os._exit(3)
        threading.Thread(target=end, daemon=True).start()
    """
    _after_import(textwrap.dedent(dies))(site)
    site.app["confirm_seconds"] = 15
    with served(IN_FLIGHT) as visitors:
        run = site.deploy()
    check_message(run, "s after the switch: its process ended", "database is gone", f"The traffic is back on {before}", "is marked bad", "Next: ")
    after = tidy()
    assert serving() == after.live == before
    [bad] = [name for name, story in after.releases.items() if story and story["verdict"] == "bad"]
    assert answered(visitors) >= {before, bad}
    assert after.log[-1]["event"] == "back"

    back = site.rollback()
    assert bad not in back.output
    mend()
    assert site.deploy().code == 0
    tidy()


def test_secrets_are_nowhere_in_the_output(vm: Vm, site: Site) -> None:
    """Not with everything that Ansible can say, and not in the error of a hook or of a build."""
    site.app["secrets"] = {"TOKEN": f"{MARKER}-4711"}
    site.app["after_live"] = f"TOKEN={MARKER}-4712 false"
    good = site.deploy("--diff", "-vvv")
    check_message(good, "the hook 'after_live' failed", "is live and stays so")
    site.edit("wsgi.py", "create_app()", "create_app(); raise ValueError('broken on purpose')")
    bad = site.deploy("--diff", "-vvv")
    check_message(bad, "broken on purpose")
    back = site.rollback("--diff", "-vvv")
    check_message(back, "the hook 'after_live' failed")
    marker = f"/srv/hello/releases/{vm.live()}/release.json"
    vm.do(f'cp {marker} /var/tmp/marker; sed -i \'s/"memory_max": "[^"]*/&\\\\nExecStartPre=+evil/\' {marker}')
    scaled = site.start("scale.yml", "--diff", "-vvv").wait()
    check_message(scaled, f"{marker} on {vm.name} is not as a deploy has written it", "'memory_max'", "Nothing was touched", "Next: ")
    vm.do(f"cp /var/tmp/marker {marker}; systemctl stop 'hello@*.service' 'hello@*.socket'")
    upgraded = site.start("upgrade.yml", "--diff", "-vvv").wait()
    check_message(upgraded, f"is live on {vm.name} and not healthy", "nothing was touched")
    vm.do(f"systemctl start hello@{vm.live()}.socket hello@{vm.live()}.service")
    # What the runs have printed is looked at where each of them ends
    assert [run.output.count("Using module file") > 0 for run in (good, bad, back, scaled, upgraded)] == [True] * 5
    patterns = " ".join(f"-e '{trace[:-1]}[{trace[-1]}]'" for trace in traces(MARKER))  # none finds itself
    assert vm.run(f"journalctl --no-pager | grep {patterns}").returncode == 1
    assert vm.run(f"grep -rl {patterns} /srv /run/plainstack /var/lib/plainstack /var/log --exclude-dir=.venv").stdout == ""
    vm.owner = ""  # the hook of what is live has failed to the end
