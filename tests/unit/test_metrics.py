"""What Prometheus reads: each value of the status, in its own syntax; and that rules and dashboard ask for what there is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.plainstack.web.plugins.module_utils.host import backup, metrics, status

from tests.unit.fakes import OLD

FILES = Path(__file__).parents[2] / "roles" / "monitoring" / "files"
UNIT = {"unit": f"hello.beat.1@{OLD}.service", "kind": "process", "name": "beat", "release": OLD, "state": "active", "restarts": 2}
APP: dict[str, Any] = {
    "name": "hello", "live": OLD, "revision": "0a1b2c3d", "went_live": "20260102T030405Z", "unhealthy": "", "maintenance": {}, "memory": 4096, "busy": 3,
    "requests": {"requests": 50, "errors": 2, "p50": 0.25, "p99": 1.5},
    "units": [UNIT, {**UNIT, "release": "other"}, {**UNIT, "kind": "job"}],
}  # fmt: skip
FOUND: dict[str, Any] = {
    "time": 1767000000.5,
    "nginx": "active",
    "reboot": {"required": True, "packages": []},
    "certificates": [{"domain": "hello.test", "error": "", "ends": 1770000000}, {"domain": "gone.test", "error": "refused"}],
    "apps": [APP],
}


def samples(text: str) -> dict[str, float]:
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if not line.startswith("#")}


def test_each_value_is_told() -> None:
    text = metrics.render(FOUND, {"hello": (1766000000.0, "")})
    assert samples(text) == {
        'plainstack_app_healthy{app="hello"}': 1,
        'plainstack_app_stopped{app="hello"}': 0,
        f'plainstack_app_info{{app="hello",release="{OLD}",revision="0a1b2c3d"}}': 1,
        'plainstack_app_live_timestamp_seconds{app="hello"}': 1767323045,
        'plainstack_app_maintenance{app="hello"}': 0,
        'plainstack_app_memory_bytes{app="hello"}': 4096,
        'plainstack_app_requests_busy{app="hello"}': 3,
        'plainstack_app_requests_recent{app="hello"}': 50,
        'plainstack_app_errors_recent{app="hello"}': 2,
        'plainstack_app_request_seconds_recent{app="hello",percentile="50"}': 0.25,
        'plainstack_app_request_seconds_recent{app="hello",percentile="99"}': 1.5,
        'plainstack_unit_active{app="hello",unit="hello.beat.1.service",kind="process"}': 1,
        'plainstack_unit_restarts{app="hello",unit="hello.beat.1.service",kind="process"}': 2,
        'plainstack_backup_timestamp_seconds{app="hello"}': 1766000000,
        'plainstack_backup_overdue{app="hello"}': 0,
        'plainstack_certificate_expiry_timestamp_seconds{domain="hello.test"}': 1770000000,
        "plainstack_nginx_active": 1,
        "plainstack_reboot_required": 1,
        "plainstack_timestamp_seconds": 1767000000.5,
    }
    assert [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")] == list(metrics.HELP), "each once, in one order"


def test_what_is_not_known_is_left_out() -> None:
    """An app that was never deployed, on a server without nginx."""
    app = {**APP, "live": "", "went_live": "", "revision": "", "unhealthy": "no release is live", "requests": None, "units": []}
    found = samples(metrics.render({**FOUND, "nginx": "", "certificates": [], "apps": [app]}, {"hello": (0.0, "full")}))
    assert found['plainstack_app_healthy{app="hello"}'] == 0
    assert found['plainstack_backup_overdue{app="hello"}'] == 1
    assert not [
        name for name in found if name.startswith(("plainstack_nginx", "plainstack_app_requests_recent", "plainstack_app_live", "plainstack_backup_time"))
    ]


def test_no_name_breaks_a_line() -> None:
    text = metrics.render({**FOUND, "certificates": [{"domain": 'a"b\\c\nd', "ends": 1}]}, {})
    assert 'plainstack_certificate_expiry_timestamp_seconds{domain="a\\"b\\\\c\\nd"} 1' in text.splitlines()


def test_the_program_writes_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a whole, for the exporter, which is another user."""
    monkeypatch.setattr(metrics, "CONFIG", str(tmp_path / "config.json"))
    monkeypatch.setattr(metrics, "FILE", str(tmp_path / "plainstack.prom"))
    monkeypatch.setattr(backup, "state", lambda: {"hello": {"at": 5, "error": ""}, "gone": {"at": 5, "error": ""}})
    monkeypatch.setattr(backup, "overdue", lambda _now: {"gone": "late"})
    monkeypatch.setattr(backup, "user_of", lambda app: None if app.name == "removed" else "its user")
    asked: list[Any] = []

    def of_host(*given: Any) -> dict[str, Any]:
        asked.append(given)
        return FOUND

    monkeypatch.setattr(status, "of_host", of_host)
    (tmp_path / "config.json").write_text(
        json.dumps({"apps": [{"name": name, "host": "hello.test", "tls": True} for name in ("hello", "removed")], "domains": ["hello.test"], "serves": True})
    )
    assert metrics.main([]) == 0
    assert asked == [([{"name": "hello", "host": "hello.test", "wanted": None}], ["hello"], ["hello.test"], True)]
    found = samples((tmp_path / "plainstack.prom").read_text())
    assert [name for name in found if "backup_timestamp" in name] == ['plainstack_backup_timestamp_seconds{app="hello"}']
    assert (tmp_path / "plainstack.prom").stat().st_mode & 0o777 == 0o644


def test_rules_and_dashboard_ask_for_what_there_is() -> None:
    """And one of them uses every value; the alerts say what to do."""
    rules = yaml.safe_load((FILES / "prometheus-rules.yml").read_text(encoding="utf-8"))
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    dashboard = (FILES / "grafana-dashboard.json").read_text(encoding="utf-8")
    json.loads(dashboard)
    text = " ".join(rule["expr"] for rule in alerts) + dashboard
    assert {*re.findall(r"plainstack_[a-z_]+", text)} == {*metrics.HELP} - {"plainstack_unit_active"}
    assert all(rule["annotations"]["description"].startswith("Next: ") and rule["labels"]["severity"] in ("critical", "warning") for rule in alerts)
