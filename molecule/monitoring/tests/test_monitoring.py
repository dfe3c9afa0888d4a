"""What Prometheus reads and a log server gets, compared with what was done. The tests run in this order."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support import LAB, ROOT, Answer, Connection, Run, Site, ask, check_message, unchecked
from vm import Vm, of_inventory, wait

SCENARIO = Path(__file__).parents[1]
HOSTS: dict[str, Any] = yaml.safe_load((SCENARIO / "inventory" / "hosts.yml").read_text(encoding="utf-8"))
NAMES = list(HOSTS["app_servers"]["hosts"])
FILES = ROOT / "roles" / "monitoring" / "files"
METRICS = "/var/lib/prometheus/node-exporter/plainstack.prom"
FIRST, SECOND = (of_inventory(HOSTS, name) for name in NAMES)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """What was deployed."""
    directory = tmp_path_factory.mktemp("monitoring")
    shutil.copytree(ROOT / "app_example", directory / "source", ignore=shutil.ignore_patterns("__pycache__", ".*_cache", "instance"))
    (directory / "inventory" / "group_vars").mkdir(parents=True)
    (directory / "inventory" / "group_vars" / "lab.yml").symlink_to(ROOT / "lab" / "vars.yml")
    given = yaml.safe_load((SCENARIO / "inventory" / "group_vars" / "all.yml").read_text(encoding="utf-8"))
    apps = [{**app, "source": str(directory / "source")} for app in given.pop("apps")]
    site = Site(directory / "inventory", apps, HOSTS, variables=given)
    yield site
    site.end()


def play(site: Site, command: str, *arguments: str) -> Run:
    return site.start(f"plainstack.web.{command}", *arguments).wait()


def get(server: Vm, path: str) -> Answer:
    return ask(Connection("hello.test", server.https_port, unchecked()), "hello.test", path, "GET", None, None, dict)


def metrics(server: Vm, other: Vm) -> dict[str, float]:
    """What another server reads, just looked at."""
    server.do("systemctl start plainstack-metrics.service")
    address = HOSTS["lab"]["hosts"][server.name]["private_address"]
    code = f"import urllib.request; print(urllib.request.urlopen('http://{address}:9100/metrics', timeout=20).read().decode())"
    lines = other.do(f'python3 -c "{code}"').splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line.startswith(("plainstack_", "node_"))}


def received() -> list[str]:
    """What has come."""
    return FIRST.do("cat /var/lib/received 2>/dev/null || :").splitlines()


def comes(*words: str, seconds: float = 60) -> str:
    """The first line with all these words, once it has come."""
    wait(f"a line with {words}", lambda: any(all(word in line for word in words) for line in received()), seconds, 0.5)
    return next(line for line in received() if all(word in line for word in words))


def test_a_second_run_changes_nothing(site: Site) -> None:
    done = play(site, "monitoring", "-v")
    assert (done.code, done.changed) == (0, 0), done.output


def test_what_prometheus_reads(site: Site) -> None:
    """From the address that was chosen, and from no other."""
    for server, other in ((FIRST, SECOND), (SECOND, FIRST)):
        found, live = metrics(server, other), server.live()
        assert found['plainstack_app_healthy{app="hello"}'] == 1
        assert found['plainstack_unit_active{app="hello",kind="process",unit="hello.beat.1.service"}'] == 1
        assert [value for name, value in found.items() if name.startswith(f'plainstack_app_info{{app="hello",release="{live}"')] == [1]
        ends = found['plainstack_certificate_expiry_timestamp_seconds{domain="hello.test"}']
        assert 38 * 86400 < ends - time.time() < 41 * 86400
        assert abs(found["plainstack_timestamp_seconds"] - time.time()) < 60
        assert any(name.startswith("node_memory_MemAvailable_bytes") for name in found)
        address = HOSTS["lab"]["hosts"][server.name]["private_address"]
        assert server.do("ss --listening --tcp --numeric --no-header 'sport = 9100' | awk '{print $4}'") == f"{address}:9100"


def test_requests_are_counted(site: Site) -> None:
    before = metrics(FIRST, SECOND).get('plainstack_app_requests_recent{app="hello"}', 0)
    for _time in range(7):
        assert get(FIRST, "/").status == 200
    assert metrics(FIRST, SECOND)['plainstack_app_requests_recent{app="hello"}'] == before + 7


def test_an_app_that_is_ill_is_told(site: Site) -> None:
    SECOND.do(f"systemctl stop hello@{SECOND.live()}.service")
    assert metrics(SECOND, FIRST)['plainstack_app_healthy{app="hello"}'] == 0
    SECOND.do(f"systemctl start hello@{SECOND.live()}.service")
    SECOND.until("it is healthy", "curl --fail --unix-socket /srv/hello/live.sock http://hello.test/healthz || python3 -c 'import time; time.sleep(3)'")
    assert metrics(SECOND, FIRST)['plainstack_app_healthy{app="hello"}'] == 1


def test_prometheus_own_linter(site: Site) -> None:
    """Metrics, the rules, and what the dashboard asks."""
    assert SECOND.do(f"promtool check metrics < {METRICS}") == ""
    rules = (FILES / "prometheus-rules.yml").read_text(encoding="utf-8")
    dashboard = json.loads((FILES / "grafana-dashboard.json").read_text(encoding="utf-8"))
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    shown = {"groups": [{"name": "panels", "rules": [{"record": f"panel_{number}", "expr": expr} for number, expr in enumerate(asked)]}]}
    for text in (rules, yaml.safe_dump(shown)):
        SECOND.do("cat > /srv/rules.yml", text)
        assert re.search(r"SUCCESS: \d+ rules found", SECOND.do("promtool check rules /srv/rules.yml"))
    broken = SECOND.run("cat > /srv/rules.yml; promtool check rules /srv/rules.yml", rules.replace("== 0", "=== 0", 1))
    assert broken.returncode != 0


def test_logs_reach_the_log_server(site: Site) -> None:
    """nginx's line and the app's, from each server by its name; and the log of deploys."""
    for server in (FIRST, SECOND):
        identifier = get(server, "/").headers["x-request-id"]
        line = comes(identifier, " nginx-access ")
        assert re.match(rf"<\d+>1 \S+ {server.name} nginx-access - - - .*GET / ", line), line
    site.edit("hello/templates/index.html", "<h1", '<h1 data-mark="one"')
    assert site.deploy().code == 0
    for server in (FIRST, SECOND):
        assert comes(f" {server.name} plainstack-deploys ", '"event": "deploy"', server.live())
        assert comes(f" {server.name} hello@{server.live()}.service ", "Listening at")


def test_a_log_server_that_is_away(site: Site) -> None:
    """Visitors see nothing of it, and what it has missed comes later; no other one gets it in its place."""
    FIRST.do("systemctl stop receiver")
    for _time in range(3):  # TCP learns from what is sent that nobody is there any more, and that is lost
        get(SECOND, "/")
        time.sleep(2)
    identifier = get(SECOND, "/").headers["x-request-id"]
    time.sleep(5)
    assert get(SECOND, "/").status == 200
    FIRST.do("mv /usr/local/lib/logs.pem /usr/local/lib/right.pem; mv /usr/local/lib/logs.key /usr/local/lib/right.key")
    FIRST.do("cat > /usr/local/lib/logs.pem", (LAB / "monitoring" / "site.pem").read_text(encoding="utf-8"))
    FIRST.do("cat > /usr/local/lib/logs.key", (LAB / "monitoring" / "site.key").read_text(encoding="utf-8"))
    FIRST.do("systemctl start receiver")
    SECOND.until("it was refused", "journalctl --quiet --unit=rsyslog --since=-2min | grep -i -E 'certificate|peer'", 90)
    assert not [line for line in received() if identifier in line]
    FIRST.do("mv /usr/local/lib/right.pem /usr/local/lib/logs.pem; mv /usr/local/lib/right.key /usr/local/lib/logs.key; systemctl restart receiver")
    comes(identifier, seconds=150)


def test_after_a_reboot(site: Site) -> None:
    assert SECOND.podman("stop", "--time=10", "{}").returncode == 0
    assert SECOND.podman("start", "{}").returncode == 0
    SECOND.do("grep logs.test /etc/hosts || echo 10.213.1.80 logs.test >> /etc/hosts")  # podman writes it anew
    SECOND.until("it is back", "systemctl is-active nginx plainstack-metrics.timer prometheus-node-exporter rsyslog", 60)
    assert metrics(SECOND, FIRST)['plainstack_app_healthy{app="hello"}'] == 1
    comes(get(SECOND, "/").headers["x-request-id"], seconds=150)


def test_what_is_wrong_is_said(site: Site) -> None:
    right = site.variables["monitoring_syslog"]
    site.variables["monitoring_syslog"] = "logs.test"
    check_message(play(site, "monitoring"), "The log server 'logs.test' is no host:port")
    site.variables["monitoring_syslog"] = right


def test_removed(site: Site) -> None:
    site.variables.update(monitoring_address="", monitoring_syslog="")
    done = play(site, "monitoring", "-v")
    assert (done.code, done.changed > 0) == (0, True), done.output
    for server in (FIRST, SECOND):
        left = f"/etc/systemd/system/plainstack-metrics.* {METRICS} /etc/rsyslog.d/60-plainstack.conf"
        assert server.do(f"ls -d {left} 2>/dev/null || :") == ""
        assert server.do("ss --listening --tcp --numeric --no-header 'sport = 9100'") == ""
    assert play(site, "monitoring", "-v").changed == 0
