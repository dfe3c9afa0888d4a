"""Certificates from an ACME server through certbot: what is there, what is wanted, and whether to ask."""

from __future__ import annotations

import configparser
import datetime
import http.client
import json
import os
import re
import secrets
import socket
import subprocess
import time
from dataclasses import dataclass

from ansible_collections.plainstack.web.plugins.module_utils.layout import make_directory, read, write
from ansible_collections.plainstack.web.plugins.module_utils.text import plain

LETSENCRYPT = "/etc/letsencrypt"
X509 = ("openssl", "x509", "-noout", "-dates", "-ext", "subjectAltName", "-in")
FAILURES = "/var/lib/plainstack/certbot-failures.json"
# Let's Encrypt allows five failed authorisations for a name in an hour
MOST_FAILURES = 4
HOUR = 3600


class AcmeError(Exception):
    """No certificate was issued; the message says why and what to do."""


@dataclass(frozen=True)
class Account:
    """Where certificates come from.

    `server` is the URL of the ACME directory, `ca` a file with its certificate authority (empty: the system's store),
    `webroot` the directory that nginx serves below /.well-known/acme-challenge/.
    """

    server: str
    email: str
    webroot: str
    ca: str


@dataclass(frozen=True)
class Held:
    """The certificate that is there: its names, and for how long it was issued, in seconds."""

    names: frozenset[str]
    lifetime: float


def parse(text: str) -> Held:
    """Read what `openssl x509 -noout -dates -ext subjectAltName` prints."""
    dates = dict(re.findall(r"^(notBefore|notAfter)=(.*)$", text, re.MULTILINE))
    begin, end = (datetime.datetime.strptime(dates[key], "%b %d %H:%M:%S %Y %Z") for key in ("notBefore", "notAfter"))
    return Held(frozenset(re.findall(r"DNS:([^,\s]+)", text)), (end - begin).total_seconds())


def held(name: str) -> Held | None:
    """The certificate of that name, or None where there is none yet."""
    path = f"{LETSENCRYPT}/live/{name}/cert.pem"
    if not os.path.exists(path):
        return None
    return parse(subprocess.run([*X509, path], capture_output=True, text=True, check=True).stdout)


def renew_before(lifetime: float) -> str:
    """When certbot renews: a third of the lifetime before the end, half below ten days.

    certbot's own 30 days are wrong for certificates of 45 or 6 days.
    """
    hours = lifetime / HOUR
    return f"{round(hours / 2 if hours < 240 else hours / 3)} hours"


@dataclass(frozen=True)
class Renewal:
    """certbot's settings for a certificate: URL of the ACME server that it came from, and when to renew it."""

    server: str
    before: str


def renewal(text: str) -> Renewal:
    """Read the file of certbot's settings for a certificate."""
    settings = configparser.ConfigParser(interpolation=None)
    settings.read_string("[lineage]\n" + text)
    return Renewal(settings.get("renewalparams", "server", fallback=""), settings.get("lineage", "renew_before_expiry", fallback=""))


def _settings(name: str) -> str:
    return f"{LETSENCRYPT}/renewal/{name}.conf"


def renewal_of(name: str) -> Renewal:
    """The same of a certificate on this host."""
    return renewal(read(_settings(name)) or "")


def as_wanted(present: Held, settings: Renewal, domains: list[str], server: str) -> bool:
    """Whether a certificate needs nothing."""
    return right_names(present, settings, domains, server) and settings.before == renew_before(present.lifetime)


def right_names(present: Held, settings: Renewal, domains: list[str], server: str) -> bool:
    """Whether a certificate is for these names and from this ACME server."""
    return present.names == set(domains) and settings.server == server


def set_renewal(name: str, lifetime: float, dry_run: bool) -> bool:
    """Write when to renew into certbot's settings of the certificate; whether they change."""
    path = _settings(name)
    wanted = renew_before(lifetime)
    if renewal_of(name).before == wanted:
        return False
    if dry_run:
        return True
    lines = [line for line in (read(path) or "").splitlines(keepends=True) if not re.match(r"\s*#?\s*renew_before_expiry\s*=", line)]
    write(path, f"renew_before_expiry = {wanted}\n" + "".join(lines))
    return True


def _failures() -> dict[str, list[float]]:
    known: dict[str, list[float]] = json.loads(read(FAILURES) or "{}")
    return {name: [when for when in times if time.time() - HOUR < when <= time.time()] for name, times in known.items()}


def _remember(name: str, failed: bool) -> None:
    failures = _failures()
    failures[name] = [*failures.get(name, []), time.time()] if failed else []
    make_directory(os.path.dirname(FAILURES))
    write(FAILURES, json.dumps(failures))


def check(domain: str, webroot: str) -> None:
    """See for ourselves whether the name leads here, before the ACME server counts a failure.

    A host behind NAT may not reach its own public address: no connection is no proof of a mistake, a wrong answer is.

    :raises AcmeError: when the name does not resolve or another server answers.
    """
    try:
        socket.getaddrinfo(domain, 80, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise AcmeError(
            f"{domain} does not resolve ({error.strerror}).\nNext: add an A or AAAA record that leads to this server (dig {domain}), then deploy again."
        ) from error
    token = secrets.token_hex(16)
    directory = f"{webroot}/.well-known/acme-challenge"
    path = f"{directory}/plainstack-{token}"
    make_directory(directory)
    write(path, token)
    connection = http.client.HTTPConnection(domain, 80, timeout=5)
    try:
        connection.request("GET", f"/.well-known/acme-challenge/plainstack-{token}")
        answer = connection.getresponse()
        if answer.status == 200 and answer.read(64).decode("ascii", "replace") == token:
            return
        if 300 <= answer.status < 400:  # a CDN in front; the ACME server follows redirects too, and is the judge
            return
        said = plain(f"{answer.status} from {answer.getheader('Server') or 'an unnamed server'}")
    except (OSError, http.client.HTTPException):
        return
    finally:
        connection.close()
        os.unlink(path)
    raise AcmeError(
        f"http://{domain}/ is answered by another server, or nginx does not serve the challenges ({said}).\n"
        f"Next: compare what {domain} resolves to with this server's address, then deploy again."
    )


def obtain(name: str, domains: list[str], account: Account) -> None:
    """Order the certificate.

    :raises AcmeError: with certbot's last words; never tries again by itself.
    """
    tried = _failures().get(name, [])
    if len(tried) >= MOST_FAILURES:
        minutes = max(1, round((tried[0] + HOUR - time.time()) / 60))
        raise AcmeError(
            f"{len(tried)} orders failed within an hour; one more would run into the ACME server's rate limit.\n"
            f"Next: mend the cause (certbot's log is /var/log/letsencrypt/letsencrypt.log) and deploy again in {minutes} min."
        )
    for domain in domains:
        check(domain, account.webroot)
    command = ["certbot", "certonly", "--non-interactive", "--agree-tos", "--quiet", "--webroot", "--webroot-path", account.webroot]
    command += ["--server", account.server, "--cert-name", name, "--renew-with-new-domains", "--force-renewal"]
    command += ["--email", account.email] if account.email else ["--register-unsafely-without-email"]
    for domain in domains:
        command += ["--domain", domain]
    environment = dict(os.environ, **({"REQUESTS_CA_BUNDLE": account.ca} if account.ca else {}))
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", errors="replace", check=False)
    _remember(name, failed=done.returncode != 0)
    if done.returncode:
        said = plain("\n".join((done.stderr + done.stdout).strip().splitlines()[-12:]))
        raise AcmeError(
            f"certbot got no certificate from {account.server}.\ncertbot says:\n{said}\n"
            "Where it is set: 'domains' of the app, 'certbot_server' and 'certbot_email' in the inventory.\n"
            "Next: mend what it names, then deploy again; the whole story is in /var/log/letsencrypt/letsencrypt.log on the host."
        )
