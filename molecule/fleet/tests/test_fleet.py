"""A fleet under load from both balancers: whatever is done to it, it is done to all of it or to none, and no request fails.

The tests run in this order: each goes on from what the one before has left.
"""

from __future__ import annotations

import datetime
import json
import re
import secrets
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from clients import Kind, Load, Response, Target
from parts import OUTCOME
from support import PEBBLE, RESULTS, ROOT, Connection, Run, Site, check_message
from vm import Vm, wait

INVENTORY = Path(__file__).parents[1] / "inventory"
HOSTS = yaml.safe_load((INVENTORY / "hosts.yml").read_text(encoding="utf-8"))
NAME = "hello.fleet.test"
BALANCERS, SERVERS = ("lb1", "lb2"), ("app1", "app2", "app3")
KINDS = (Kind("GET", True, 0.02), Kind("POST", True, 0.02), Kind("GET", False, 0.06), Kind("POST", False, 0.06))
PARTS = 23
SKEW = 1.5  # seconds from the first switch of a rollout to its last


def _vm(name: str) -> Vm:
    host = HOSTS["lab"]["hosts"][name]
    ports = {guest: outer for outer, guest in host["lab_publish"].items()}
    return Vm(name, host["ansible_port"], ports[80], ports.get(443, 0))


VMS = {name: _vm(name) for name in (*BALANCERS, *SERVERS)}


@contextmanager
def refusing_itself(name: str) -> Iterator[None]:
    """A server whose nginx answers visitors, and not what a playbook asks there."""
    snippet = "/etc/nginx/conf.d/refuse.conf"
    VMS[name].do(f"echo 'deny 127.0.0.1;' > {snippet} && systemctl reload nginx.service")
    try:
        yield
    finally:
        VMS[name].do(f"rm {snippet} && systemctl reload nginx.service")


@dataclass
class Fleet:
    """The servers, an inventory of them and a copy of the app's source, and the loads: one on each balancer."""

    site: Site
    loads: list[Load]
    root: Path
    parts: list[tuple[str, int, int, int]] = field(default_factory=list)  # name, responses, failed, resent
    skews: list[float] = field(default_factory=list)

    def live(self, *servers: str) -> set[str]:
        """Ids of the live releases of some servers, or of all."""
        return {VMS[name].live() for name in servers or self.servers}

    @property
    def servers(self) -> list[str]:
        return list(self.site.hosts["app_servers"]["hosts"])

    def responses(self) -> list[Response]:
        """What both balancers' visitors have got."""
        return [response for load in self.loads for response in load.responses()]

    @contextmanager
    def part(self, name: str, get_only: bool = False) -> Iterator[None]:
        """Note what the visitors got meanwhile; no request may have failed, or no GET."""
        began = time.monotonic()
        yield
        ended = time.monotonic()
        wait("the responses of the part", lambda: all(load.responses()[-1].start > ended for load in self.loads))
        found = [response for response in self.responses() if began <= response.start < ended]
        failed = [response for response in found if response.failure]
        self.parts.append((name, len(found), len(failed), sum(response.resent for response in found)))
        counted = [response for response in failed if not get_only or response.kind.startswith("GET")]
        assert not counted, f"{name}: {len(counted)} of {len(found)} failed: {Counter(f'{one.kind}: {one.failure}' for one in counted)}"
        assert len(found) > 100

    def answering(self, seconds: float = 2) -> Counter[str]:
        """Which servers answer the requests of some time; the app says its host's name."""
        seen: Counter[str] = Counter()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for balancer in BALANCERS:
                seen[self.ask(balancer)["hostname"]] += 1
        return seen

    def ask(self, balancer: str, path: str = "/api/whoami") -> dict[str, str]:
        """The answer of a balancer, whose certificate must be good."""
        connection = Connection(NAME, VMS[balancer].https_port, ssl.create_default_context(cafile=str(self.root)))
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == 200, body
            told: dict[str, str] = json.loads(body)
            return {**told, "serial": str(connection.certificate["serialNumber"])}
        finally:
            connection.close()

    def rolled_out(self, run: Run) -> None:
        """A rollout that succeeded: one release everywhere, within a moment; its table says so."""
        assert run.code == 0, run.output[-4000:]
        assert len(self.live()) == 1
        for name in self.servers:
            assert VMS[name].look().untidy() == {}

    def skew(self, run: Run) -> float:
        """Seconds between the first switch and the last, as the table has it."""
        found = re.search(r"From the first switch to the last: ([\d.]+) s", run.output)
        assert found, run.output[-4000:]
        self.skews.append(float(found[1]))
        return self.skews[-1]

    def table(self) -> str:
        """What the visitors got, as Markdown."""
        rows = [f"| {name} | {count:,} | {failed} | {resent} |" for name, count, failed, resent in self.parts]
        counts = [sum(part[column] for part in self.parts) for column in (1, 2, 3)]
        rows.append(f"| **all** | **{counts[0]:,}** | **{counts[1]}** | **{counts[2]}** |")
        return "\n".join(["| Part | Responses | Failed | Resent |", "| --- | --: | --: | --: |", *rows])

    def write(self) -> None:
        """Keep the figures for the docs."""
        count, failed = (sum(part[column] for part in self.parts) for column in (1, 2))
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "fleet-load.md").write_text(
            f"""# A fleet under load

Written by `molecule test --scenario-name fleet` on {datetime.datetime.now(datetime.UTC):%Y-%m-%d}: {failed} of {count:,} requests failed
while everything below was done to two load balancers and three app servers, Debian 12 and 13 mixed, as containers on one machine.

{len(KINDS)} clients on each balancer ask without end, over HTTPS with a verified certificate, half of them on a kept connection, half with GET
and half with POST and a body of 10 kB. {OUTCOME}
*Resent* are requests that came to a kept connection which the balancer closed at that moment, because it was being
reloaded. Where a server is killed with -9, the POSTs that it was working on may fail, and no GET; everywhere else the
test fails when one request does.

{self.table()}

From the first switch of a rollout to its last, without the canary: {", ".join(f"{skew} s" for skew in self.skews)}; more than {SKEW} s fails.
""",
            encoding="utf-8",
        )

    def change(self, mark: str) -> None:
        self.site.edit("hello/templates/index.html", "<h1", f'<h1 data-change="{mark}-{secrets.token_hex(4)}"')


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    directory = tmp_path_factory.mktemp("fleet")
    apps = yaml.safe_load((INVENTORY / "group_vars" / "all.yml").read_text(encoding="utf-8"))["apps"]
    shutil.copytree(ROOT / "app_example", directory / "source", ignore=shutil.ignore_patterns("__pycache__", ".*_cache", "instance"))
    (directory / "inventory" / "group_vars").mkdir(parents=True)
    (directory / "inventory" / "group_vars" / "lab.yml").symlink_to(ROOT / "lab" / "vars.yml")
    root = directory / "root.pem"
    with urllib.request.urlopen(f"{PEBBLE}/roots/0", context=ssl._create_unverified_context()) as answer:
        root.write_bytes(answer.read())
    site = Site(directory / "inventory", [{**app, "source": str(directory / "source")} for app in apps], yaml.safe_load(yaml.safe_dump(HOSTS)))
    loads = []
    for balancer in BALANCERS:
        (directory / balancer).mkdir()
        loads.append(Load(Target(NAME, VMS[balancer].https_port, str(root)), directory / balancer, KINDS))
    with loads[0], loads[1]:
        fleet = Fleet(site, loads, root)
        wait("the first visitors", lambda: all(len(load.responses()) > len(KINDS) for load in loads))
        yield fleet
        site.end()
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n{fleet.table()}\n")
    if len(fleet.parts) == PARTS:
        fleet.write()


def test_each_balancer_serves_and_each_server_answers(fleet: Fleet) -> None:
    time.sleep(3)
    assert set(fleet.answering()) == set(SERVERS)
    told = [fleet.ask(balancer) for balancer in BALANCERS]
    assert len({one["serial"] for one in told}) == 1
    assert {(one["client"], one["scheme"], one["host"]) for one in told} == {("10.213.0.1", "https", NAME)}


@pytest.mark.parametrize("server", SERVERS)
def test_an_app_server_refuses_everybody_but_the_balancers(fleet: Fleet, server: str) -> None:
    """Its address is the lab's router for the host, a neighbour for another VM."""
    with pytest.raises(ConnectionError):
        socket.create_connection(("127.0.0.1", VMS[server].http_port), 5)
    address = HOSTS["lab"]["hosts"][server]["private_address"]
    asks = f"exec 3<>/dev/tcp/{address}/80 && printf 'GET / HTTP/1.0\\r\\nHost: {NAME}\\r\\n\\r\\n' >&3 && timeout 5 cat <&3"
    neighbour = VMS[next(name for name in SERVERS if name != server)].run(asks)
    assert neighbour.returncode != 0
    assert "refused" in neighbour.stderr
    assert "200 OK" in VMS["lb1"].do(asks)


def test_a_request_has_one_id(fleet: Fleet) -> None:
    """The client's answer, the balancer's log and that of the app server have the same."""
    for name in BALANCERS:
        answer = VMS[name].do(f"curl --silent --insecure --head --resolve {NAME}:443:127.0.0.1 https://{NAME}/api/whoami")
        [found] = re.findall(r"^x-request-id: ([0-9a-f]{32})\r?$", answer, re.MULTILINE | re.IGNORECASE)
        counts = {one: int(VMS[one].do(f"grep --count ' {found}$' /var/log/nginx/access.log || :")) for one in (*BALANCERS, *SERVERS)}
        assert (counts[name], sum(counts.values())) == (1, 2)


def test_deploy(fleet: Fleet) -> None:
    """And the migration is run once for all of them."""
    before = fleet.live()
    fleet.change("deploy")
    fleet.site.app["migrate"] = 'echo "$PLAINSTACK_RELEASE" >> "$PLAINSTACK_SHARED/migrated"'
    with fleet.part("deploy"):
        run = fleet.site.deploy()
    fleet.rolled_out(run)
    assert fleet.live() != before
    assert fleet.skew(run) <= SKEW
    assert [line for name in SERVERS for line in VMS[name].do("cat /srv/hello/shared/migrated || :").split()] == list(fleet.live())


def test_the_same_again_changes_nothing(fleet: Fleet) -> None:
    run = fleet.site.deploy()
    assert run.code == 0
    assert re.findall(r"changed=(\d+)", run.output) == ["0"], run.output[-2000:]


def test_restart(fleet: Fleet) -> None:
    """The same code beside itself, everywhere; no migration is run."""
    [before] = fleet.live()
    migrated = [VMS[name].do("cat /srv/hello/shared/migrated || :") for name in SERVERS]
    with fleet.part("restart"):
        run = fleet.site.start("plainstack.web.restart").wait()
    fleet.rolled_out(run)
    [after] = fleet.live()
    assert (after != before, after[-8:]) == (True, before[-8:])
    assert [VMS[name].do("cat /srv/hello/shared/migrated || :") for name in SERVERS] == migrated
    assert fleet.skew(run) <= SKEW


def test_maintenance(fleet: Fleet) -> None:
    """The balancers answer; who is allowed notices nothing."""

    def seen() -> list[str]:
        asks = "curl --silent --insecure --output /dev/null --write-out '%{{http_code}}' --resolve {0}:443:{1} https://{0}/"
        return [VMS["lb1"].do(asks.format(NAME, HOSTS["lab"]["hosts"][name]["private_address"])) for name in BALANCERS]

    assert seen() == ["200", "200"]
    with fleet.part("maintenance, whose visitors are allowed"):
        on = fleet.site.start("plainstack.web.maintenance", "-e", "mode=on", "-e", "allow=10.213.0.1").wait()
        during = seen()
        off = fleet.site.start("plainstack.web.maintenance", "-e", "mode=off").wait()
    assert (on.code, off.code, during, seen()) == (0, 0, ["503", "503"], ["200", "200"])
    assert f"hello is in maintenance now: {', '.join([*BALANCERS, *SERVERS])}" in on.output


def test_rollback(fleet: Fleet) -> None:
    before = fleet.live()
    with fleet.part("rollback"):
        run = fleet.site.rollback()
    fleet.rolled_out(run)
    assert fleet.live() != before


def test_a_release_that_fails_its_gate_on_one_server(fleet: Fleet) -> None:
    before = fleet.live()
    states = {name: VMS[name].look() for name in fleet.servers}
    fleet.site.edit("wsgi.py", "create_app()", "create_app()\nif __import__('socket').gethostname() == 'app2':\n    raise SystemExit('no licence')")
    with fleet.part("deploy of a release that fails on one server"):
        run = fleet.site.deploy()
    check_message(run, "app2: hello: the release", "no licence", "The rollout is undone", f"app1: hello: {min(before)} still serves")
    assert fleet.live() == before
    for name in fleet.servers:
        state = VMS[name].look()
        assert state.untidy() == {}
        assert (state.releases, state.live) == (states[name].releases, states[name].live)


@pytest.mark.parametrize("canary", ["", "1"])
def test_a_release_that_fails_on_one_server_while_it_is_watched(fleet: Fleet, canary: str) -> None:
    """It had switched, as the others had: all go back, the canary too."""
    shutil.copy(ROOT / "app_example" / "wsgi.py", fleet.site.source / "wsgi.py")
    before = fleet.live()
    fails = """
import itertools, socket
asked = itertools.count(1)
inner = app.wsgi_app
def outer(environ, start_response):
    if environ["PATH_INFO"] == "/healthz" and socket.gethostname() == "app3" and next(asked) > 8:
        start_response("500 Broken", [("Content-Length", "0")])
        return [b""]
    return inner(environ, start_response)
app.wsgi_app = outer
"""
    with (fleet.site.source / "wsgi.py").open("a", encoding="utf-8") as stream:
        stream.write(f"{fails}# {canary}\n")
    fleet.site.app["workers"] = 1
    fleet.site.app["confirm_seconds"] = 5
    with fleet.part(f"release that fails on one server after the switch{', with a canary' if canary else ''}"):
        run = fleet.site.deploy(*(["-e", f"canary={canary}", "-e", "canary_seconds=3"] if canary else []))
    check_message(run, "/healthz answered 500", "The rollout is undone", f"hello: {min(before)}")
    assert fleet.live() == before
    for name in fleet.servers:
        state = VMS[name].look()
        assert state.untidy() == {}
        assert (state.releases[max(state.releases)] or {}).get("verdict") == "bad"


def test_a_server_that_is_cut_off_after_its_switch_goes_back_by_itself(fleet: Fleet) -> None:
    """Visitors reach it all the time; only its SSH does not answer any more. The others go back too."""
    shutil.copy(ROOT / "app_example" / "wsgi.py", fleet.site.source / "wsgi.py")
    before = fleet.live()
    fleet.change("cut off")
    fleet.site.app["confirm_seconds"] = 20
    cut = "nft add table inet cut && nft 'add chain inet cut input {type filter hook input priority -5;}' && nft add rule inet cut input tcp dport 22 drop"
    with fleet.part("server that is cut off after its switch"):
        run = fleet.site.start("deploy.yml")
        wait("the switch", lambda: not fleet.live() & before, 60)
        VMS["app2"].do(cut)
        try:
            ended = run.wait(240)
            wait("one release everywhere", lambda: fleet.live() == before, 60)
        finally:
            VMS["app2"].do("nft delete table inet cut")
    del fleet.site.app["confirm_seconds"]
    check_message(ended, "app2 was lost", "The rollout is undone", f"app1: hello: {min(before)} still serves")
    state = VMS["app2"].look()
    assert state.beside == [state.live], "its processes have not gone back with it"
    assert [line["event"] for line in state.log][-1] == "back"
    assert (state.releases[max(state.releases)] or {}).get("verdict") == "bad"


def test_a_canary_that_is_slower_than_the_rest(fleet: Fleet) -> None:
    shutil.copy(ROOT / "app_example" / "wsgi.py", fleet.site.source / "wsgi.py")
    before = fleet.live()
    fleet.site.app["workers"] = 2
    with (fleet.site.source / "wsgi.py").open("a", encoding="utf-8") as stream:
        stream.write("\nimport time\napp.before_request(lambda: time.sleep(0.7))\n")
    with fleet.part("canary that is slower than the rest"):
        run = fleet.site.deploy("-e", "canary=34%", "-e", "canary_seconds=6")
    check_message(run, "does worse on app1, app2 than what the rest serves", "95 of 100 requests took up to 0.7", "The rollout is undone")
    assert fleet.live() == before


def test_a_run_that_is_killed_in_the_middle_is_finished_by_the_next(fleet: Fleet) -> None:
    """All have switched, and none is confirmed yet."""
    shutil.copy(ROOT / "app_example" / "wsgi.py", fleet.site.source / "wsgi.py")
    before = fleet.live()
    fleet.change("killed")
    fleet.site.app["confirm_seconds"] = 8
    with fleet.part("deploy that is killed after the switch, and repeated"):
        run = fleet.site.start("deploy.yml")
        wait("the switch", lambda: not fleet.live() & before, 60)
        run.kill()
        run.wait()
        del fleet.site.app["confirm_seconds"]
        again = fleet.site.deploy()
    fleet.rolled_out(again)
    assert not fleet.live() & before


def test_a_balancer_that_answers_no_more_after_the_switch(fleet: Fleet) -> None:
    """It does for visitors: only what the rollout asks is refused, and that is taken for the release's fault."""
    before = fleet.live()
    fleet.change("refused")
    fleet.site.app["confirm_seconds"] = 8
    with fleet.part("release that a balancer does not get through to"):
        run = fleet.site.start("deploy.yml")
        wait("the switch", lambda: not fleet.live() & before, 60)
        with refusing_itself("lb2"):
            ended = run.wait()
    del fleet.site.app["confirm_seconds"]
    check_message(ended, f"lb2: https://{NAME}/healthz answered 403", "The rollout is undone", f"hello: {min(before)}")
    assert fleet.live() == before


def test_a_canary_that_does_well(fleet: Fleet) -> None:
    shutil.copy(ROOT / "app_example" / "wsgi.py", fleet.site.source / "wsgi.py")
    fleet.change("canary")
    with fleet.part("deploy with a canary"):
        run = fleet.site.deploy("-e", "canary=1", "-e", "canary_seconds=5")
    fleet.rolled_out(run)
    assert fleet.skew(run) <= SKEW
    check_message(fleet.site.deploy("-e", "canary=3"), "canary is '3': that is 3 of 3 servers, and none is left to compare with", "Nothing was touched")


def test_renewal_reaches_both_balancers(fleet: Fleet) -> None:
    before = fleet.ask("lb1")["serial"]
    with fleet.part("renewal of the certificate"):
        VMS["lb1"].do("REQUESTS_CA_BUNDLE=/etc/letsencrypt/acme-server-ca.pem certbot renew --quiet --force-renewal --no-random-sleep-on-renew")
        VMS["lb2"].do("systemctl is-active plainstack-certificates.timer && systemctl start plainstack-certificates.service")
        wait("the new certificate", lambda: all(fleet.ask(balancer)["serial"] != before for balancer in BALANCERS), 10)
    assert len({fleet.ask(balancer)["serial"] for balancer in BALANCERS}) == 1


def test_an_app_that_hangs_on_one_server(fleet: Fleet) -> None:
    """It still takes connections, and what is sent to it is answered by another server once its time is over."""
    timeout = fleet.site.app.get("timeout", 30)
    fleet.site.app["timeout"] = 3
    assert fleet.site.deploy().code == 0
    with fleet.part("app that hangs on one server", get_only=True):
        VMS["app2"].do("pkill --signal STOP --uid hello")
        try:
            seen = fleet.answering(8)
        finally:
            VMS["app2"].do("pkill --signal CONT --uid hello")
    assert set(seen) == {"app1", "app3"}
    fleet.site.app["timeout"] = timeout
    assert fleet.site.deploy().code == 0


def test_a_server_that_is_killed(fleet: Fleet) -> None:
    with fleet.part("kill -9 of an app server", get_only=True):
        VMS["app2"].podman("kill", "{}")
        time.sleep(3)
        assert set(fleet.answering()) == {"app1", "app3"}


def test_a_server_that_is_down_stops_a_rollout_before_it_begins(fleet: Fleet) -> None:
    before = fleet.live("app1", "app3")
    fleet.change("down")
    with fleet.part("deploy with a server down"):
        run = fleet.site.deploy()
    check_message(run, "app2 cannot be reached", "-e allow_unreachable=true")
    assert fleet.live("app1", "app3") == before
    with fleet.part("deploy that leaves out the server that is down"):
        run = fleet.site.deploy("-e", "allow_unreachable=true")
    assert run.code == 0, run.output[-4000:]
    assert "left out: cannot be reached" in run.said
    assert fleet.live("app1", "app3") != before


def test_a_server_that_comes_back_gets_no_traffic_until_it_is_up_to_date(fleet: Fleet) -> None:
    wanted = fleet.live("app1")
    fleet.change("not deployed")
    with fleet.part("return of the server"):
        VMS["app2"].podman("start", "{}")
        VMS["app2"].booted()
        assert fleet.live("app2") != wanted
        assert "app2" not in fleet.answering()
        run = fleet.site.start("scale.yml").wait()
    fleet.rolled_out(run)
    assert fleet.live() == wanted
    assert set(fleet.answering()) == set(SERVERS)


def test_a_server_that_is_taken_out_is_drained(fleet: Fleet) -> None:
    with fleet.part("server taken out"):
        del fleet.site.hosts["app_servers"]["hosts"]["app1"]
        assert fleet.site.start("scale.yml").wait().code == 0
        assert "app1" not in fleet.answering()


def test_a_server_that_is_added(fleet: Fleet) -> None:
    """Bare, as a new one is; it gets what the others have, and not what the checkout holds."""
    VMS["app1"].podman("rm", "--force", "--volumes", "--time=0", "{}")
    command = [str(ROOT / ".venv/bin/ansible-playbook"), "lab/create.yml", "-i", str(INVENTORY), "--limit", "app1"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0
    before = fleet.live("app2")
    with fleet.part("server added"):
        fleet.site.hosts["app_servers"]["hosts"]["app1"] = None
        run = fleet.site.start("scale.yml").wait()
    fleet.rolled_out(run)
    assert fleet.live() == before
    assert set(fleet.answering()) == set(SERVERS)


def test_an_upgrade_begins_only_where_the_others_can_do_without_one(fleet: Fleet) -> None:
    boots = [VMS[name].do("cat /proc/1/stat").split()[21] for name in fleet.servers]
    with fleet.part("upgrade that does not begin"), refusing_itself("app3"):
        run = fleet.site.start("upgrade.yml", "-e", "reboot=true").wait()
    check_message(run, "is live on app3 and not healthy", "app3: it answered 403", "nothing was touched")
    limited = fleet.site.start("upgrade.yml", "--limit", "app2").wait()
    check_message(limited, "This run is limited to app2", "nothing was touched")
    assert [VMS[name].do("cat /proc/1/stat").split()[21] for name in fleet.servers] == boots


def test_an_upgrade_reboots_one_server_after_the_other(fleet: Fleet) -> None:
    """Nobody but the test starts a container that has shut down."""
    boots = {name: VMS[name].do("cat /proc/1/stat").split()[21] for name in fleet.servers}
    over = threading.Event()

    def start_what_shuts_down() -> None:
        while not over.wait(0.5):
            for name in fleet.servers:
                if VMS[name].podman("inspect", "--format={{.State.Running}}", "{}").stdout.strip() == "false":
                    VMS[name].podman("start", "{}")

    hypervisor = threading.Thread(target=start_what_shuts_down)
    hypervisor.start()
    try:
        with fleet.part("upgrade of all servers, each with a reboot"):
            run = fleet.site.start("upgrade.yml", "-e", "reboot=true").wait(600)
    finally:
        over.set()
        hypervisor.join()
    assert run.code == 0, run.output[-4000:]
    assert all(VMS[name].do("cat /proc/1/stat").split()[21] != boot for name, boot in boots.items())
    assert set(fleet.answering()) == set(SERVERS)
    assert len(fleet.live()) == 1


def test_an_upgrade_with_nothing_to_upgrade(fleet: Fleet) -> None:
    """No reboot has wiped /run: the locks of this run are there."""
    with fleet.part("upgrade with nothing to upgrade"):
        run = fleet.site.start("upgrade.yml").wait(600)
    assert run.code == 0, run.output[-4000:]
    assert set(fleet.answering()) == set(SERVERS)
