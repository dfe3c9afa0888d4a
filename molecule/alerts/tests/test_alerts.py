"""Each trigger is caused for real: one message to each target that works, one when it is over. The tests run in this order."""

from __future__ import annotations

import datetime
import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from support import LAB, ROOT, Run, Site, check_message
from vm import Vm, of_inventory, wait

INVENTORY = Path(__file__).parents[1] / "inventory"
HOSTS: dict[str, Any] = yaml.safe_load((INVENTORY / "hosts.yml").read_text(encoding="utf-8"))
NAMES = list(HOSTS["app_servers"]["hosts"])
SOON = 60  # seconds after which a message must have come
OVER = 240  # seconds after which a message that it is over must have come: a minute, and two looks
QUIET = 40  # seconds in which nothing comes: one look and what it looks at again
FIRST, SECOND = (of_inventory(HOSTS, name) for name in NAMES)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """What was deployed, with a copy of the source to change."""
    directory = tmp_path_factory.mktemp("alerts")
    shutil.copytree(ROOT / "app_example", directory / "source", ignore=shutil.ignore_patterns("__pycache__", ".*_cache", "instance"))
    (directory / "inventory" / "group_vars").mkdir(parents=True)
    (directory / "inventory" / "group_vars" / "lab.yml").symlink_to(ROOT / "lab" / "vars.yml")
    given = yaml.safe_load((INVENTORY / "group_vars" / "all.yml").read_text(encoding="utf-8"))
    apps = [{**app, "source": str(directory / "source")} for app in given.pop("apps")]
    site = Site(directory / "inventory", apps, HOSTS, variables=given)
    yield site
    site.end()


def play(site: Site, command: str, *arguments: str) -> Run:
    return site.start(f"plainstack.web.{command}", *arguments).wait()


def received(server: Vm, kind: str = "webhook") -> list[dict[str, str]]:
    """What has come."""
    return [one for line in server.do("cat /var/lib/received 2>/dev/null || :").splitlines() if (one := json.loads(line))["kind"] == kind]


def forget(*servers: Vm) -> None:
    for server in servers:
        server.do("rm -f /var/lib/received")


def titles(server: Vm) -> list[str]:
    return [one["title"] for one in received(server)]


def outcomes(server: Vm) -> list[str]:
    """The titles without those of what was under way at a look."""
    return [title for title in titles(server) if not title.endswith(" is on its way")]


def comes(server: Vm, begins: str, seconds: float = SOON) -> dict[str, str]:
    """The one message whose title has that, once it has come; and no second one with it."""
    wait(f"a message: {begins}", lambda: any(begins in title for title in titles(server)), seconds, 1)
    [found] = [one for one in received(server) if begins in one["title"]]
    return found


def test_a_second_run_changes_nothing(site: Site) -> None:
    done = play(site, "alerts", "-v")
    assert (done.code, done.changed) == (0, 0), done.output


def test_each_target_is_tested(site: Site) -> None:
    """The one that takes nothing is said, without its URL."""
    done = play(site, "alerts", "-e", "test=true")
    assert "target 1: has taken 4 messages\ntarget 2: has taken 4 messages\ntarget 3: " in done.output
    check_message(done, "A target has not taken the test; what it says is above.")
    assert "swordfish" not in done.output
    assert [("still: " in title, "over: " in title) for title in titles(FIRST)] == [(False, False), (True, False), (False, True), (False, False)]
    assert len(received(FIRST, "mail")) == 4, "test=true waits for each"
    assert len(titles(SECOND)) == 4, "each server sends for itself"
    forget(FIRST, SECOND)


def test_an_hour_of_work_in_short(site: Site) -> None:
    """Deploys are told by the first server, and no problem is: not what stops and starts meanwhile."""
    for mark in ("one", "two"):
        site.edit("hello/templates/index.html", "<h1", f'<h1 data-mark="{mark}"')
        assert site.deploy().code == 0
    assert site.rollback().code == 0
    wait("three outcomes", lambda: len(outcomes(FIRST)) >= 3, SOON, 1)
    time.sleep(QUIET)
    assert [title.split()[-2:] for title in outcomes(FIRST)] == [["is", "live"], ["is", "live"], ["live", "again"]]
    assert titles(SECOND) == []
    assert " by " in received(FIRST)[0]["body"]
    forget(FIRST)


def test_a_process_that_ends_again_and_again(site: Site) -> None:
    """With its last words; once, also by mail, and once when it is well."""
    SECOND.do("touch /srv/hello/shared/ends")
    found = comes(SECOND, "the process beat ")
    assert SECOND.live() in found["title"]
    assert "famous last words" in found["body"]
    assert re.search(r"\nSince: \S+\nNext: journalctl --unit=hello\.beat\.1@", found["body"])
    time.sleep(QUIET)
    SECOND.do("rm /srv/hello/shared/ends")
    comes(SECOND, f"{SECOND.name}: over: hello: the process beat ", OVER)
    wait("the mail", lambda: len(received(SECOND, "mail")) == 2, 30, 1)
    assert (len(titles(SECOND)), titles(FIRST)) == (2, [])
    forget(SECOND)


def test_an_app_that_is_killed(site: Site) -> None:
    """systemd has started it again before anybody looks."""
    FIRST.do(f"systemctl kill --signal=KILL hello@{FIRST.live()}.service")
    comes(FIRST, "the app hello has ended")
    comes(FIRST, "over: hello: the app hello", OVER)
    forget(FIRST)


def test_nginx_that_is_stopped(site: Site) -> None:
    """It, and the site that visitors do not get any more."""
    SECOND.do("systemctl stop nginx.socket nginx.service")
    comes(SECOND, "nginx does not run: its unit is inactive")
    comes(SECOND, "hello: hello.test/healthz ")
    SECOND.do("systemctl start nginx.socket nginx.service")
    comes(SECOND, "over: nginx does not run", OVER)
    comes(SECOND, "over: hello: hello.test/healthz", OVER)
    assert len(titles(SECOND)) == 4
    forget(SECOND)


def test_answers_that_are_errors(site: Site) -> None:
    """By the server that gave them, with the release; and that it is over when the five minutes are."""
    site.edit(
        "hello/views.py",
        '@pages.route("/api/whoami"',
        '@pages.route("/api/ill")\ndef ill() -> str:\n    raise ValueError("ill")\n\n\n@pages.route("/api/whoami"',
    )
    assert site.deploy().code == 0
    wait("it is live", lambda: any(title.endswith(" is live") for title in titles(FIRST)), SOON, 1)
    forget(FIRST)
    SECOND.do("for each in $(seq 40); do curl --silent --output /dev/null --insecure --resolve hello.test:443:127.0.0.1 https://hello.test/api/ill; done")
    found = comes(SECOND, "requests of the last five minutes were answered with 5xx", SOON + 30)
    assert f"live is {SECOND.live()}" in found["title"]
    comes(SECOND, "over: hello: ", 300 + OVER)
    assert (len(titles(SECOND)), titles(FIRST)) == (2, [])
    forget(SECOND)


def test_a_disk_that_is_really_full(site: Site) -> None:
    """Also the one that what was told is kept on: it is told once all the same, and once that there is room."""
    FIRST.do("mount -t tmpfs -o size=4m plainstack /tmp; mount -t tmpfs -o size=64k plainstack /var/lib/plainstack-alerts")
    try:
        FIRST.do("dd if=/dev/zero of=/tmp/filled bs=64k; dd if=/dev/zero of=/var/lib/plainstack-alerts/filled bs=1k; df /tmp /var/lib/plainstack-alerts")
        found = comes(FIRST, "the disk of /tmp is 100% full")
        assert "Next: du -xh --max-depth=2 /tmp " in found["body"]
        time.sleep(2 * QUIET)
        assert len(titles(FIRST)) == 1
        FIRST.do("rm /tmp/filled /var/lib/plainstack-alerts/filled")
        comes(FIRST, "over: the disk of /tmp is 100% full", OVER)
        assert FIRST.do("ls /var/lib/plainstack-alerts /run/plainstack-alerts.json 2>/dev/null || :").split() == ["/var/lib/plainstack-alerts:", "state.json"]
    finally:
        FIRST.do("umount /tmp /var/lib/plainstack-alerts")
    forget(FIRST)


def test_what_is_stopped_or_in_maintenance_is_no_problem(site: Site) -> None:
    assert play(site, "stop").code == 0
    FIRST.do("for each in $(seq 40); do curl --silent --output /dev/null --insecure --resolve hello.test:443:127.0.0.1 https://hello.test/; done")
    time.sleep(QUIET)
    assert play(site, "start").code == 0
    assert play(site, "maintenance", "-e", "mode=on").code == 0
    time.sleep(QUIET)
    assert play(site, "maintenance", "-e", "mode=off").code == 0
    time.sleep(QUIET)
    assert (titles(FIRST), titles(SECOND)) == ([], [])


def test_a_deploy_that_fails(site: Site) -> None:
    """Deploying goes on in any case: one of the targets takes nothing all the time."""
    site.edit("wsgi.py", "app = create_app()", "raise RuntimeError('no licence')")
    assert site.deploy().code != 0
    site.edit("wsgi.py", "raise RuntimeError('no licence')", "app = create_app()")
    found = comes(FIRST, " failed")
    assert "did not become healthy" in found["body"]
    assert "Next: ansible-playbook plainstack.web.releases -e app=hello" in found["body"]
    time.sleep(QUIET)
    assert (len(outcomes(FIRST)), outcomes(SECOND)) == (1, []), "one server of those that have failed tells it"
    forget(FIRST, SECOND)


def test_a_deploy_that_is_under_way(site: Site) -> None:
    """By the first server alone; once, and once that it is live."""
    site.app["migrate"] = "sleep 45"
    site.edit("hello/templates/index.html", "<h1", '<h1 data-mark="slow"')
    run = site.start("deploy.yml")
    found = comes(FIRST, " is on its way")
    assert found["body"].startswith("deploy by ")
    assert run.wait().code == 0
    del site.app["migrate"]
    comes(FIRST, f"{FIRST.live()} is live")
    time.sleep(QUIET)
    assert (len(titles(FIRST)), titles(SECOND)) == (2, [])
    forget(FIRST)


def test_a_build_that_fails(site: Site) -> None:
    """What keeps it from being built is told."""
    requirements = site.source / "requirements.txt"
    before = requirements.read_text(encoding="utf-8")
    requirements.write_text("flask==0.0.0.1 --hash=sha256:" + "0" * 64 + "\n", encoding="utf-8")
    assert site.deploy().code != 0
    requirements.write_text(before, encoding="utf-8")
    found = comes(FIRST, " failed")
    assert "Next: ansible-playbook plainstack.web.releases -e app=hello" in found["body"]
    assert "the environment could not be built from requirements.txt" in found["body"], found["body"]
    forget(FIRST, SECOND)


def test_a_server_that_is_silent(site: Site) -> None:
    """The other one notices; what it has missed meanwhile comes later."""
    assert SECOND.podman("stop", "--time=5", "{}").returncode == 0
    try:
        found = comes(FIRST, f"{SECOND.name} (")
        assert "is silent" in found["title"]
    finally:
        assert SECOND.podman("start", "{}").returncode == 0
        SECOND.until("it is back", "systemctl is-active nginx", 60)
    comes(FIRST, f"over: {SECOND.name} (", OVER + 15)
    assert len(titles(FIRST)) == 2
    forget(FIRST)


def old_certificate() -> None:
    """Put one in the place of the site's that is three quarters over: certbot would have renewed it."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hello.test")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - datetime.timedelta(days=30), now + datetime.timedelta(days=10))
    built = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("hello.test")]), critical=False).sign(key, hashes.SHA256())
    (LAB / "alerts" / "site.pem").write_bytes(built.public_bytes(serialization.Encoding.PEM))
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (LAB / "alerts" / "site.key").write_bytes(secret)


def test_a_disk_a_reboot_a_backup_and_a_certificate(site: Site) -> None:
    """With marks so low that what there is passes them, as the machine's own disk must not be filled."""
    old_certificate()
    assert site.deploy().code == 0
    FIRST.do("""mkdir -p /etc/plainstack-backup /var/lib/plainstack-backup; echo '{"apps": ["hello"], "hours": 26}' > /etc/plainstack-backup/config.json
        echo '{"hello": {"at": '$(date --date='-30 hours' +%s)', "error": ""}}' > /var/lib/plainstack-backup/state.json""")
    FIRST.do("touch --date='-9 days' /run/reboot-required")
    site.variables["alerts_full_percent"] = 1
    assert play(site, "alerts").code == 0
    wait("the messages", lambda: any("updates wait for a reboot, for 9 days" in one["title"] + one["body"] for one in received(FIRST)), 60, 1)
    wait("the disk", lambda: any("the disk of / is " in one["title"] + one["body"] for one in received(FIRST)), 90, 1)
    wait("the backup", lambda: any("hello: the last backup was made 30 hours ago" in one["title"] + one["body"] for one in received(FIRST)), 30, 1)
    wait("the certificate", lambda: any("hello.test is past two thirds of its life" in one["title"] + one["body"] for one in received(FIRST)), 240, 1)
    FIRST.do("rm -r /run/reboot-required /etc/plainstack-backup /var/lib/plainstack-backup")
    site.variables["alerts_full_percent"] = 90
    site.variables["alerts_heartbeat_url"] = "http://127.0.0.1:8099/alive"
    assert play(site, "alerts").code == 0
    over = ["updates wait for a reboot", "the disk of / is ", "hello: the last backup was made 30 hours ago"]
    wait("that it is over", lambda: all(any(f"over: {what}" in one["title"] or f"- {what}" in one["body"] for one in ended()) for what in over), OVER, 1)
    assert received(FIRST, "heartbeat")[0]["title"] == "/alive"


def ended() -> list[dict[str, str]]:
    """The messages that something is over."""
    return [one for one in received(FIRST) if ": over: " in one["title"]]


def test_nobody_else_reads_the_targets(site: Site) -> None:
    for server in (FIRST, SECOND):
        assert server.do("stat --format='%a %U' /etc/plainstack-alerts/config.json") == "600 root"
        assert server.run("runuser -u hello -- cat /etc/plainstack-alerts/config.json").returncode != 0
        assert "swordfish" not in server.do("journalctl --quiet --unit=plainstack-alerts; systemctl show 'run-*' 'plainstack-alerts*'")


def test_what_it_costs(site: Site) -> None:
    """Nothing runs between two looks."""
    FIRST.do("systemctl stop plainstack-alerts.timer; while systemctl is-active plainstack-alerts | grep -q activating; do sleep 0.2; done")
    assert FIRST.do("pgrep --full '[a]lerts.pyz|[a]pprise' || :") == ""


def test_removed(site: Site) -> None:
    site.variables.update(alerts_targets=[], alerts_heartbeat_url="")
    done = play(site, "alerts", "-v")
    assert (done.code, done.changed > 0) == (0, True), done.output
    for server in (FIRST, SECOND):
        assert server.do("ls -d /etc/plainstack-alerts /var/lib/plainstack-alerts /etc/systemd/system/plainstack-alerts.* 2>/dev/null || :") == ""
    assert play(site, "alerts", "-v").changed == 0
