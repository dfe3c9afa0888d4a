"""What certbot runs after a renewal."""

from __future__ import annotations

import fcntl
import subprocess
from pathlib import Path

import jinja2
import pytest
import yaml
from ansible_collections.plainstack.web.plugins.module_utils.layout import LOCKS

ROLE = Path(__file__).parents[2] / "roles/certbot"
HOOK = (ROLE / "templates/etc/letsencrypt/renewal-hooks/deploy/plainstack.j2").read_text(encoding="utf-8")


@pytest.fixture
def hook(tmp_path: Path) -> list[str]:
    """The command, with an nginx and a systemctl that only say what they are asked; it waits for a second at most."""
    given = yaml.safe_load((ROLE / "vars/main.yml").read_text(encoding="utf-8"))
    assert given["__certbot_locks"] == LOCKS
    environment = jinja2.Environment(autoescape=False)
    environment.filters["comment"] = "# {}".format
    given |= {"__certbot_locks": tmp_path / "locks", "__certbot_shared_directory": tmp_path / "none"}
    given |= {"ansible_managed": "x", "__certbot_wanted": {"lineages": []}}
    text = environment.from_string(HOOK).render(given).replace("--timeout 300", "--timeout 1")
    for path in ("/usr/sbin/nginx", "/usr/bin/systemctl"):
        assert path in text
        text = text.replace(path, f"echo {path}")
    return ["sh", "-c", text]


def test_it_validates_before_it_reloads(hook: list[str], tmp_path: Path) -> None:
    done = subprocess.run(hook, capture_output=True, text=True, check=False)
    asked = ["/usr/bin/systemctl is-active --quiet nginx.service", "/usr/sbin/nginx -t -q", "/usr/bin/systemctl reload nginx.service"]
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, asked, "")
    assert (tmp_path / "locks").stat().st_mode & 0o777 == 0o700


def test_not_while_a_run_writes_the_configuration(hook: list[str], tmp_path: Path) -> None:
    """What that run has not validated yet is neither a reason to leave the old certificate in use nor to be loaded."""
    (tmp_path / "locks").mkdir()
    with (tmp_path / "locks/.configuration").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(hook, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "a run works on the configuration of this host" in done.stderr
