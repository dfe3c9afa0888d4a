"""The module `firewall`, as Ansible runs it, with an nft that only pretends."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.plainstack.web.plugins.module_utils.host import rules
from ansible_collections.plainstack.web.plugins.modules import firewall

# The kernel is a file; each listing of it has other handles and counters
NFT = """#!/bin/sh
cd {directory}
case $1 in
--json) test -e kernel || exit 1
    date +%s%N > now
    printf '{{"nftables": [{{"metainfo": {{"version": "%s"}}}}, {{"rule": {{"handle": %s, "expr": [{{"packets": %s}}, "%s"]}}}}]}}' \\
        "$(cat now)" "$(cat now)" "$(cat now)" "$(cat kernel)" ;;
--file) echo load >> calls; ! grep -q wrong "$2" || {{ echo 'line 1 is wrong' >&2; exit 1; }}; cp "$2" kernel ;;
esac
"""

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host whose rules are in the file, and in the kernel."""
    (tmp_path / "nft").write_text(NFT.format(directory=tmp_path))
    (tmp_path / "nft").chmod(0o755)
    for name in ("rules", "kernel"):
        (tmp_path / name).write_text("from the balancers alone")
    monkeypatch.setattr(rules, "NFT", str(tmp_path / "nft"))
    monkeypatch.setattr(rules, "RECORD", str(tmp_path / "lib/firewall.json"))
    return tmp_path


@pytest.fixture
def run(host: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run_module(check: bool = False) -> dict[str, Any]:
        given = {"file": str(host / "rules"), "table": "inet plainstack", "_ansible_check_mode": check}
        (host / "calls").write_text("")
        with patch_module_args(given), pytest.raises(SystemExit):
            firewall.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return {**result, "loads": (host / "calls").read_text().count("load")}

    return run_module


def test_what_the_kernel_has_is_left_alone(run: Run) -> None:
    assert (run()["changed"], run()["changed"], run()["loads"]) == (False, False, 0)


@pytest.mark.parametrize("damage", [lambda kernel: kernel.unlink(), lambda kernel: kernel.write_text("from anybody")], ids=["flushed", "changed"])
def test_rules_that_are_gone_come_back(host: Path, run: Run, damage: Callable[[Path], object]) -> None:
    run()
    damage(host / "kernel")
    assert (run(check=True)["changed"], run(check=True)["loads"]) == (True, 0)
    assert run()["changed"] is True
    assert (host / "kernel").read_text() == "from the balancers alone"
    assert (run()["changed"], run()["loads"]) == (False, 0)


def test_rules_that_were_gone_before_the_first_look(host: Path, run: Run) -> None:
    (host / "kernel").unlink()
    assert run()["changed"] is True
    assert (host / "kernel").read_text() == "from the balancers alone"


def test_other_rules(host: Path, run: Run) -> None:
    """The service has loaded them; that was the change."""
    run()
    for name in ("rules", "kernel"):
        (host / name).write_text("from others")
    assert run(check=True)["changed"] is False
    assert run()["changed"] is False
    assert run()["loads"] == 0


def test_rules_that_are_wrong(host: Path, run: Run) -> None:
    (host / "rules").write_text("wrong")
    said = run()
    assert "line 1 is wrong" in said["msg"]
    assert "Next: " in said["msg"]


def test_no_nft_in_check_mode(host: Path, run: Run) -> None:
    """On a bare server."""
    (host / "nft").unlink()
    assert run(check=True)["changed"] is True
