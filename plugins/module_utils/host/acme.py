"""Certificates from an ACME server through certbot: what the host holds, what is missing, and what an order that fails is told."""

from __future__ import annotations

import configparser
import contextlib
import datetime
import glob
import hashlib
import http.client
import importlib.metadata
import json
import os
import re
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ansible_collections.plainstack.web.plugins.module_utils.host.certificates import TWO_THIRDS, Certificate, read_certificate
from ansible_collections.plainstack.web.plugins.module_utils.layout import make_directory, read, write
from ansible_collections.plainstack.web.plugins.module_utils.text import plain

LETSENCRYPT = "/etc/letsencrypt"
CERTBOT = "/usr/bin/certbot"
# Debian's package is installed; and where a snap, pip or a link to them puts another one
PACKAGE = "/var/lib/dpkg/info/certbot.list"
FOREIGN = ("/snap/bin/certbot", "/usr/local/bin/certbot", CERTBOT)
LOG = "/var/log/letsencrypt/letsencrypt.log"
FAILURES = "/var/lib/plainstack/certbot-failures.json"
# Let's Encrypt allows five failed authorisations for a name in an hour
MOST_FAILURES = 4
HOUR = 3600
# certbot's timer has missed a certificate of which so much of its life has passed
OVERDUE = 3 / 4
# Seconds to wait for another certbot
BUSY = 120
# Seconds that the whole answer to a look at ourselves may take: it may come from anybody
SELF_CHECK = 10.0
# From this version on certbot itself renews when a third of the lifetime is left, or half of one below ten days
RENEWS_BY_LIFETIME = 4


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
class Renewal:
    """certbot's settings of a lineage: the ACME server, when it is renewed (empty: certbot decides), the webroot, and whether it is renewed at all."""

    server: str
    before: str
    webroot: str
    enabled: bool


@dataclass(frozen=True)
class Lineage:
    """A certificate that certbot has, and its settings. The name says for which app it was ordered first, not whose names it has."""

    name: str
    certificate: Certificate
    renewal: Renewal


@dataclass(frozen=True)
class Wanted:
    """A set of names that needs a certificate of its own, and the app that it belongs to."""

    name: str
    domains: tuple[str, ...]

    @property
    def names(self) -> frozenset[str]:
        """The same without an order."""
        return frozenset(self.domains)


@dataclass(frozen=True)
class Place:
    """The lineage that a set of names has or is to get, and why it must be ordered; nothing is no reason."""

    lineage: str
    reason: str


def place(wanted: Wanted, others: Iterable[Wanted], lineages: Mapping[str, Lineage], account: Account, now: float) -> Place:
    """Where the certificate for a set of names is, or which lineage to order it as.

    A certificate belongs to its names, not to the app that it was ordered for: apps that swap their names need no order. A lineage is ordered anew with
    other names only where nobody else has it or needs the names that it loses, so that at no moment a name is left without a certificate.
    """

    def fits(lineage: Lineage) -> bool:
        return (lineage.certificate.names, lineage.renewal.server, lineage.renewal.webroot) == (wanted.names, account.server, account.webroot)

    ranked = sorted(lineages.values(), key=lambda one: (fits(one), one.certificate.valid(now), one.name == wanted.name, one.certificate.ends), reverse=True)
    same = [one for one in ranked if one.certificate.names == wanted.names]
    if same and fits(same[0]):
        end = same[0].certificate.end
        if not same[0].certificate.valid(now):
            return Place(same[0].name, f"it ended on {end}")
        overdue = same[0].certificate.passed(now) > OVERDUE
        return Place(same[0].name, f"it ends on {end}, and certbot's timer has not renewed it" if overdue else "")
    if same:
        return Place(same[0].name, "it did not come from the wanted ACME server")
    mine = lineages.get(wanted.name)
    needed = [other.names for other in others if other.names != wanted.names]
    rest = [one.certificate for one in lineages.values() if one is not mine and one.certificate.valid(now)]
    lost = mine.certificate.names - wanted.names if mine else frozenset()
    uncovered = {name for name in lost if any(name in names for names in needed) and not any(one.covers(name) for one in rest)}
    free = mine is None or (mine.certificate.names not in needed and not uncovered)
    digest = hashlib.sha256(" ".join(sorted(wanted.names)).encode()).hexdigest()[:8]
    return Place(wanted.name if free else f"{wanted.name}-{digest}", "there is none for these names")


def concern(wanted: Wanted, found: Place, lineages: Mapping[str, Lineage], now: float) -> str:
    """What an operator should know of a certificate that this run does not order; nothing where all is well."""
    names = ", ".join(wanted.domains)
    if found.reason:
        return f"{wanted.name}: the certificate for {names} must be ordered: {found.reason}. Next: ansible-playbook deploy.yml -e app={wanted.name}"
    certificate = lineages[found.lineage].certificate
    if certificate.passed(now) <= TWO_THIRDS:
        return ""
    return (
        f"{wanted.name}: two thirds of the life of the certificate for {names} have passed; it ends on {certificate.end}. "
        "Next: journalctl --unit=certbot on the host tells why it has not been renewed yet."
    )


def renew_before(lifetime: float) -> str:
    """When certbot renews: a third of the lifetime before the end, half below ten days; empty where certbot does so by itself.

    The 30 days of older versions are wrong for certificates of 45 or 6 days.
    """
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        if int(importlib.metadata.version("certbot").partition(".")[0]) >= RENEWS_BY_LIFETIME:
            return ""
    hours = lifetime / HOUR
    return f"{round(hours / 2 if hours < 240 else hours / 3)} hours"


def renewal(text: str) -> Renewal:
    """Read the file of certbot's settings of a lineage."""
    settings = configparser.ConfigParser(interpolation=None)
    try:
        settings.read_string("[lineage]\n" + text)
    except configparser.Error:
        return Renewal("", "", "", True)
    webroot = settings.get("renewalparams", "webroot_path", fallback="") if settings.get("renewalparams", "authenticator", fallback="") == "webroot" else ""
    return Renewal(
        settings.get("renewalparams", "server", fallback=""),
        settings.get("lineage", "renew_before_expiry", fallback=""),
        webroot.strip(", "),
        settings.get("renewalparams", "autorenew", fallback="True") == "True",
    )


def _settings(name: str) -> str:
    return f"{LETSENCRYPT}/renewal/{name}.conf"


def lineages() -> dict[str, Lineage]:
    """What certbot has on this host, by name."""
    found = {}
    for path in sorted(glob.glob(_settings("*"))):
        name = os.path.basename(path).removesuffix(".conf")
        certificate = read_certificate(f"{LETSENCRYPT}/live/{name}/cert.pem")
        if certificate:
            found[name] = Lineage(name, certificate, renewal(read(path) or ""))
    return found


def renews() -> bool:
    """Whether certbot has a lineage by webroot that it goes on renewing."""
    return any(found.enabled and found.webroot for found in (renewal(read(path) or "") for path in glob.glob(_settings("*"))))


def set_renewal(lineage: Lineage, enabled: bool, dry_run: bool) -> bool:
    """Have certbot renew a lineage at the right time, or not at all; whether its settings change."""
    certificate = lineage.certificate
    before = renew_before(certificate.ends - certificate.begins) if enabled else lineage.renewal.before
    if (lineage.renewal.before, lineage.renewal.enabled) == (before, enabled):
        return False
    if not dry_run:
        path = _settings(lineage.name)
        lines = [line for line in (read(path) or "").splitlines(keepends=True) if not re.match(r"\s*#?\s*(renew_before_expiry|autorenew)\s*=", line)]
        header = next((number for number, line in enumerate(lines) if line.strip() == "[renewalparams]"), len(lines) - 1)
        lines[header + 1 : header + 1] = [] if enabled else ["autorenew = False\n"]
        write(path, (f"renew_before_expiry = {before}\n" if before else "") + "".join(lines))
    return True


def foreign_certbot() -> str:
    """What to do about a certbot that is not Debian's package; empty where there is none. It renews the same certificates by a timer of its own."""
    package = os.path.exists(PACKAGE)
    for path in FOREIGN:
        if os.path.lexists(path) and not (path == CERTBOT and package and not os.path.islink(path)):
            break
    else:
        return ""
    snap = "/snap/" in f"{path} {os.path.realpath(path)}" or os.path.realpath(path) == "/usr/bin/snap"
    remove = f"'sudo snap remove certbot; sudo rm -f {path}'" if snap else f"'sudo rm {path}', and the virtual environment or pip package behind it"
    return (
        f"{path} is a certbot from {'snap' if snap else 'pip or another source'}; Plainstack needs Debian's, and two would renew the same certificates. "
        f"Remove it: {remove}. What it has obtained stays in /etc/letsencrypt and is used."
    )


def _failures() -> dict[str, list[float]]:
    known: dict[str, list[float]] = json.loads(read(FAILURES) or "{}")
    return {name: [when for when in times if time.time() - HOUR < when <= time.time()] for name, times in known.items()}


def _remember(name: str, failed: bool) -> None:
    failures = _failures()
    failures[name] = [*failures.get(name, []), time.time()] if failed else []
    make_directory(os.path.dirname(FAILURES))
    write(FAILURES, json.dumps(failures))


def _cut(connection: http.client.HTTPConnection) -> None:
    """End an answer that goes on and on, whatever comes meanwhile."""
    with contextlib.suppress(OSError, AttributeError):  # it has ended at just this moment
        connection.sock.shutdown(socket.SHUT_RDWR)


def check(domain: str, webroot: str) -> None:
    """See for ourselves whether the name leads here, before the ACME server counts a failure.

    A host behind NAT may not reach its own public address: no connection is no proof of a mistake, a wrong answer is.

    :raises AcmeError: when the name does not resolve or another server answers.
    """
    try:
        socket.getaddrinfo(domain, 80, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise AcmeError(
            f"{domain} does not resolve ({error.strerror}).\nNext: add an A or AAAA record that leads to this server (dig {domain}), then deploy again.\n"
            "Where only others resolve it (split DNS), set 'certbot_self_check: false' in the inventory."
        ) from error
    token = secrets.token_hex(16)
    directory = f"{webroot}/.well-known/acme-challenge"
    path = f"{directory}/plainstack-{token}"
    make_directory(directory)
    write(path, token)
    connection = http.client.HTTPConnection(domain, 80, timeout=5)
    over = threading.Timer(SELF_CHECK, _cut, [connection])
    try:
        connection.connect()
        over.start()
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
        over.cancel()
        connection.close()
        os.unlink(path)
    raise AcmeError(
        f"http://{domain}/ is answered by another server, or nginx does not serve the challenges ({said}).\n"
        f"Next: compare what {domain} resolves to with this server's address, then deploy again.\n"
        "Where this server cannot see itself as others do (a home router, split DNS), set 'certbot_self_check: false' in the inventory."
    )


@dataclass(frozen=True)
class Refusal:
    """Why certbot got no certificate: whether the ACME server counts it as a failed authorisation, what it is, and the next step."""

    counts: bool
    what: str
    next: str


AUTHORISATION = "make sure that the names lead to this server and that port 80 is open to everybody, then deploy again."
# Types of ACME problems: RFC 8555, 6.7
PROBLEMS = {
    **dict.fromkeys(
        ("unauthorized", "dns", "connection", "tls", "incorrectResponse"), Refusal(True, "The ACME server could not see that a name leads here.", AUTHORISATION)
    ),
    "caa": Refusal(True, "A CAA record forbids this ACME server.", "change the CAA record of the name that certbot names, then deploy again."),
    "rateLimited": Refusal(False, "The ACME server's rate limit is reached.", "deploy again when it is over; 'certbot_staging: true' is for trials."),
    **dict.fromkeys(
        ("invalidContact", "unsupportedContact", "invalidEmail"),
        Refusal(False, "The ACME server refuses the e-mail address.", "set 'certbot_email' to an address of yours, or to '' for none, then deploy again."),
    ),
    "rejectedIdentifier": Refusal(False, "The ACME server issues nothing for a name.", "remove the name from 'domains', then deploy again."),
    **dict.fromkeys(
        ("accountDoesNotExist", "externalAccountRequired", "userActionRequired"),
        Refusal(False, "The ACME server does not accept the account.", "'certbot register' on the host makes one; its log has the server's words."),
    ),
    "serverInternal": Refusal(False, "The ACME server has an error of its own.", "deploy again later."),
}
UNKNOWN = Refusal(False, "certbot failed.", f"remove the cause that it names, then deploy again; all of it is in {LOG} on the host.")
BUSY_REFUSAL = Refusal(False, "Another certbot is running.", "deploy again when it has ended; 'pgrep -a certbot' on the host shows it.")
UNREACHABLE = Refusal(
    False,
    "The ACME server cannot be reached.",
    "check 'certbot_server' in the inventory and that the host reaches it, if need be through a proxy; then deploy again.",
)
UNTRUSTED = Refusal(
    False,
    "The certificate of the ACME server itself is not trusted.",
    "name its certificate authority as 'certbot_server_ca' in the inventory, then deploy again.",
)


def judge(said: str, log: str) -> Refusal:
    """Why certbot failed, from the types of the ACME server's problems and the names of exceptions in its log; its words are for people.

    :param said: what it printed.
    :param log: its log of this order alone; empty where it did not get so far.
    """
    if "Another instance of Certbot is already running" in said:
        return BUSY_REFUSAL
    types = [kind for kind in re.findall(r"urn:ietf:params:acme:error:(\w+)", log) if kind in PROBLEMS]
    if types:
        found = PROBLEMS[types[-1]]
        after = re.findall(r"^Retry-After: (\d+)\s*$", log, re.MULTILINE | re.IGNORECASE)
        if types[-1] == "rateLimited" and after:
            until = datetime.datetime.fromtimestamp(time.time() + int(after[-1]), datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
            return Refusal(False, f"{found.what} It asks to wait until {until}.", found.next)
        return found
    if re.search(r"requests\.exceptions\.SSLError|CERTIFICATE_VERIFY_FAILED", log):
        return UNTRUSTED
    if re.search(r"requests\.exceptions\.\w*(Connection|Timeout|ProxyError)", log):
        return UNREACHABLE
    return UNKNOWN


def _log(name: str) -> str:
    """certbot's log of an order of this lineage; empty where the log is of something else."""
    log = read(LOG) or ""
    return log if f"'--cert-name', '{name}'" in log else ""


def _certbot(name: str, command: list[str], environment: dict[str, str]) -> tuple[int, str, Refusal]:
    """Run certbot; another one that is running gets time to end."""
    deadline = time.monotonic() + BUSY
    while True:
        done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", errors="replace", check=False)
        said = (done.stderr + done.stdout).strip()
        refusal = judge(said, _log(name))
        if done.returncode == 0 or refusal is not BUSY_REFUSAL or time.monotonic() > deadline:
            return done.returncode, said, refusal
        time.sleep(2)


def obtain(wanted: Wanted, lineage: str, account: Account, self_check: bool) -> None:
    """Order the certificate.

    :raises AcmeError: with certbot's last words; never orders again by itself.
    """
    tried = _failures().get(wanted.name, [])
    if len(tried) >= MOST_FAILURES:
        minutes = max(1, round((tried[0] + HOUR - time.time()) / 60))
        raise AcmeError(
            f"{len(tried)} orders failed within an hour; one more would run into the ACME server's rate limit.\n"
            f"Next: remove the cause (certbot's log is {LOG}) and deploy again in {minutes} min."
        )
    if self_check:
        for domain in wanted.domains:
            check(domain, account.webroot)
    command = [CERTBOT, "certonly", "--non-interactive", "--agree-tos", "--quiet", "--webroot", "--webroot-path", account.webroot]
    command += ["--server", account.server, "--cert-name", lineage, "--renew-with-new-domains", "--force-renewal"]
    command += ["--email", account.email] if account.email else ["--register-unsafely-without-email"]
    for domain in wanted.domains:
        command += ["--domain", domain]
    environment = dict(os.environ, **({"REQUESTS_CA_BUNDLE": account.ca} if account.ca else {}))
    code, said, refusal = _certbot(lineage, command, environment)
    if code == 0 or refusal.counts:
        _remember(wanted.name, failed=code != 0)
    if code:
        words = plain("\n".join(said.splitlines()[-12:]))
        raise AcmeError(
            f"certbot got no certificate from {account.server}. {refusal.what}\ncertbot says:\n{words}\n"
            "Where it is set: 'domains' of the app, 'certbot_server' and 'certbot_email' in the inventory.\n"
            f"Next: {refusal.next}"
        )
