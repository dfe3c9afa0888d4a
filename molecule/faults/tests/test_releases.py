"""Bad releases: no traffic for them, the old release serves, the error has the app's own words, and the next good run works."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from support import Load, Request, Site, ports
from testinfra.host import Host

NAME = "hello.faults.test"
Releases = Callable[[], tuple[str, str]]

# How a release is broken: a file of the source, what is in it, what it becomes; and words that the error must have
BROKEN = {
    "raises on import": (
        "wsgi.py",
        "create_app()",
        "create_app(); raise ValueError('broken on purpose')",
        ["ValueError: broken on purpose", "while starting"],
    ),
    "wrong health": ("hello/views.py", 'return "ok", 200, text', 'return "not well", 500, text', ["/healthz answered 500"]),
    "hangs": ("hello/views.py", '"""Whether this process', 'time.sleep(100)\n    """Whether this process', ["/healthz gave no answer"]),
    "needs a variable": ("wsgi.py", "create_app()", "create_app(); __import__('os').environ['DATABASE_URL']", ["KeyError: 'DATABASE_URL'"]),
    "wrong hash": ("requirements.txt", "--hash=sha256:", "--hash=sha256:00000000", ["could not be built from requirements.txt", "uv says:"]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_release_gets_no_traffic(https: Request, site: Site, releases: Releases, name: str) -> None:
    before = releases()
    file, old, new, words = BROKEN[name]
    site.edit(file, old, new)
    site.app["start_timeout"] = 4
    run = site.deploy()
    assert run.code != 0
    said = " ".join(run.output.split())
    for word in [*words, "still serves", "Where it is set", "Next: "]:
        assert word in said, word
    assert https(NAME, "/healthz").status == 200
    assert releases() == before, "something of the broken release is still there"


def test_missing_gunicorn_is_named(https: Request, site: Site, releases: Releases) -> None:
    before = releases()
    lock = (site.source / "requirements.txt").read_text(encoding="utf-8")
    without = re.sub(r"^gunicorn==.*?(?=^[a-z])", "", lock, flags=re.DOTALL | re.MULTILINE)
    assert without != lock
    (site.source / "requirements.txt").write_text(without, encoding="utf-8")
    run = site.deploy()
    assert run.code != 0
    assert "requirements.txt brings no gunicorn; the old release still serves" in " ".join(run.output.split())
    assert https(NAME).status == 200
    assert releases() == before


def test_wrong_module_shows_the_import_error(https: Request, site: Site, releases: Releases) -> None:
    before = releases()
    site.app["module"] = "nowhere:app"
    run = site.deploy()
    assert run.code != 0
    assert "No module named 'nowhere'" in run.output
    assert https(NAME).status == 200
    assert releases() == before


def test_the_next_good_release_goes_live_and_the_next_run_changes_nothing(https: Request, site: Site) -> None:
    before = json.loads(https(NAME, "/api/whoami").body)["release"]
    site.edit("hello/templates/index.html", "<h1", '<h1 data-changed="yes"')
    run = site.deploy()
    assert run.code == 0, run.output[-3000:]
    assert b'data-changed="yes"' in https(NAME).body
    assert json.loads(https(NAME, "/api/whoami").body)["release"] != before
    again = site.deploy()
    assert (again.code, "changed=0" in again.output) == (0, True)


def test_changed_environment_is_a_new_release(https: Request, site: Site) -> None:
    before = json.loads(https(NAME, "/api/whoami").body)
    site.app["env"] = {"GREETING": "changed"}
    assert site.deploy().code == 0
    after = json.loads(https(NAME, "/api/whoami").body)
    assert (after["greeting"], after["release"] != before["release"]) == ("changed", True)


def test_deploys_under_load_fail_no_request(host: Host, site: Site, pebble_root: str) -> None:
    """New code, a changed environment, a broken release and a new domain, while requests come without a pause."""
    with Load(NAME, ports(host)[443], pebble_root) as load:
        site.edit("hello/templates/index.html", "<h1", '<h1 data-load="yes"')
        assert site.deploy().code == 0
        site.app["env"] = {"GREETING": "under load"}
        assert site.deploy().code == 0
        site.edit("wsgi.py", "create_app()", "create_app(); raise ValueError('broken under load')")
        assert site.deploy().code != 0
    assert load.failures == []
    assert load.answers > 1000
    assert len(load.releases) >= 3, "the load has not seen the releases change"


def test_a_naive_restart_under_load_does_fail_requests(host: Host, pebble_root: str) -> None:
    """The control: the same load notices when a process is simply replaced, so it would notice above, too."""
    live = host.check_output("basename $(readlink /srv/hello/live)")
    with Load(NAME, ports(host)[443], pebble_root) as load:
        for _ in range(3):
            host.check_output("systemctl stop hello@%s.socket hello@%s.service; systemctl start hello@%s.service", live, live, live)
    assert load.failures != []


def test_slow_import_is_waited_for(https: Request, site: Site) -> None:
    site.edit("wsgi.py", "create_app()", "create_app(); __import__('time').sleep(6)")
    run = site.deploy()
    assert run.code == 0, run.output[-3000:]
    assert https(NAME, "/healthz").status == 200


def test_a_release_costs_under_1_mb(host: Host, site: Site) -> None:
    """What a second release adds to the disk: its packages are hard links into the cache."""
    site.edit("hello/templates/index.html", "<h1", '<h1 data-size="yes"')
    used = "du --summarize --block-size=1 /srv/hello/releases | cut -f1"
    before = int(host.check_output(used))
    assert site.deploy().code == 0
    assert int(host.check_output(used)) - before < 1_000_000


def test_half_built_release_is_swept(host: Host, https: Request, site: Site) -> None:
    host.check_output("mkdir -p /srv/hello/releases/20200101T000000Z-deadbeef/.venv")
    site.edit("hello/templates/index.html", "<h1", '<h1 data-swept="yes"')
    assert site.deploy().code == 0
    assert not host.file("/srv/hello/releases/20200101T000000Z-deadbeef").exists
    assert b"data-swept" in https(NAME).body


def test_only_five_releases_stay(host: Host) -> None:
    assert len(host.check_output("ls /srv/hello/releases").split()) == 5


@pytest.mark.parametrize(("name", "word"), [("user", "The system has units of the name user@.service"), ("video", "The system has a group video")])
def test_names_of_the_system_are_refused(site: Site, name: str, word: str) -> None:
    site.app["name"] = name
    run = site.deploy()
    assert run.code != 0
    assert word in " ".join(run.output.split())


def test_secrets_are_nowhere_in_the_output(site: Site) -> None:
    site.app["secrets"] = {"TOKEN": "swordfish-4711"}
    run = site.deploy("--diff", "-vvv")
    assert run.code == 0
    assert "swordfish-4711" not in run.output


def test_dead_instance_is_started_again(host: Host, https: Request, site: Site) -> None:
    site.app["secrets"] = {"TOKEN": "swordfish-4711"}
    live = host.check_output("basename $(readlink /srv/hello/live)")
    host.check_output("systemctl stop hello@%s.service hello@%s.socket", live, live)
    assert https(NAME).status == 502
    run = site.deploy()
    assert run.code == 0, run.output[-3000:]
    assert https(NAME, "/healthz").status == 200


def test_every_release_left_has_its_files(host: Host) -> None:
    """Nothing half-done: what is on disk belongs to a complete release."""
    complete = set(host.check_output("ls /srv/hello/releases").split())
    assert set(host.check_output("ls /etc/plainstack/hello").split()) == complete
    drop_ins = host.check_output("ls /etc/systemd/system | grep '^hello@2' || :").split()
    assert {name.removeprefix("hello@").removesuffix(".service.d") for name in drop_ins} <= complete
