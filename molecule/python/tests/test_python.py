"""The interpreters are there, the exact ones, and a release's environment can be made from them."""

from __future__ import annotations

import platform
import re
from pathlib import Path

from testinfra.host import Host

UV = "env UV_PYTHON_INSTALL_DIR=/opt/plainstack/python /opt/plainstack/uv/bin/uv"


def test_uv_is_the_pinned_version(host: Host) -> None:
    pinned = re.search(r"^uv==(\S+)", (Path(__file__).parents[3] / "roles/python/files/uv.txt").read_text(encoding="utf-8"))
    assert pinned
    assert host.check_output(f"{UV} --version").split()[1] == pinned[1]


def test_uv_with_another_content_is_refused(host: Host) -> None:
    host.check_output("sed 's/sha256:.*/sha256:%s/' /opt/plainstack/uv.txt | sed 's/ *$//' > /var/tmp/other.txt", "0" * 64)
    pip = "PIP_CERT=/etc/ssl/certs/ca-certificates.crt PYTHONPATH=$(echo /usr/share/python-wheels/pip-*.whl) python3 -m pip"
    said = host.run(f"{pip} download -q --require-hashes --no-deps -d /tmp -r /var/tmp/other.txt")
    assert said.rc != 0
    assert "HASH" in said.stderr.upper()


def test_the_exact_python_makes_an_environment(host: Host) -> None:
    version = platform.python_version()
    host.check_output(f"{UV} venv --quiet --clear --managed-python --no-python-downloads --python {version} /tmp/environment")
    assert host.check_output("/tmp/environment/bin/python -c 'import platform, ssl; print(platform.python_version())'") == version


def test_debians_python_makes_an_environment(host: Host) -> None:
    assert host.run(f"{UV} venv --quiet --clear --no-managed-python --python /usr/bin/python3 /tmp/system").rc == 0


def test_every_user_can_run_the_interpreters(host: Host) -> None:
    assert host.run("runuser -u nobody -- /tmp/environment/bin/python -V").rc == 0
