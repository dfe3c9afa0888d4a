"""How long a deploy takes where a server has many apps: with no change, and when one of them has changed."""

from __future__ import annotations

import datetime
import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from deploys import CHANGED
from vms import ROOT, STACK, BenchError, playbook, script, watched

COUNT = 10


@dataclass
class Many:
    """Seconds of each run with COUNT apps."""

    nothing: list[float] = field(default_factory=list)
    change: list[float] = field(default_factory=list)


def certificate(directory: Path, names: list[str]) -> None:
    """An own certificate for all of them: ordering ten would be what takes the time."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(days=30))
    built = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in names]), critical=False).sign(key, hashes.SHA256())
    (directory / "own.crt").write_bytes(built.public_bytes(serialization.Encoding.PEM))
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / "own.key").write_bytes(secret)


def apps(directory: Path) -> list[dict[str, object]]:
    """The definition of copies of app_example."""
    return [
        {
            "name": f"app{number}",
            "source": str(directory / f"app{number}"),
            "module": "wsgi:app",
            "domains": [STACK.domain if number == 0 else f"app{number}.test"],
            "health_path": "/healthz",
            "static": {"/static": "hello/static"},
            "workers": 1,
            "memory_max": "9%",
            "certificate": str(directory / "own.crt"),
            "certificate_key": str(directory / "own.key"),
        }
        for number in range(COUNT)
    ]


def deploy(defined: list[dict[str, object]], *arguments: str) -> tuple[float, int]:
    """Run deploy.yml: its seconds, and how many tasks changed something."""
    with watched(STACK) as watch:
        output = playbook("deploy.yml", "--extra-vars", json.dumps({"apps": defined}), *arguments)
    found = re.search(r"\bchanged=(\d+)", output)
    if found is None:
        raise BenchError(f"{output}\nthe deploy had no result for {STACK.name}")
    return watch.end, int(found[1])


def measure(work: Path, again: int) -> Many:
    """Measure on the VM that deploy.yml has set up already; its own app is stopped, so this comes last.

    :param work: empty directory for the copies of the app, outside of the checkout.
    """
    result = Many()
    for number in range(COUNT):
        shutil.copytree(ROOT / "app_example", work / f"app{number}", ignore=shutil.ignore_patterns("__pycache__", ".*_cache", "instance"))
    certificate(work, [STACK.domain, *(f"app{number}.test" for number in range(1, COUNT))])
    defined = apps(work)
    print(f"{COUNT} apps", flush=True)
    deploy(defined, "--extra-vars", "replace=hello")
    script(STACK, "systemctl stop 'hello@*'")
    for number in range(again):
        page = work / "app3" / CHANGED
        page.write_text(page.read_text(encoding="utf-8") + f"<!-- {number} -->\n", encoding="utf-8")
        result.change.append(deploy(defined)[0])
        seconds, changed = deploy(defined)
        if changed:
            raise BenchError(f"a deploy of {COUNT} apps with no change reports changed={changed}")
        result.nothing.append(seconds)
        print(f"  one of {COUNT} changed {result.change[-1]:.1f} s, no change {result.nothing[-1]:.1f} s", flush=True)
    return result
