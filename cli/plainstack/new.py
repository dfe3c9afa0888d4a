"""`plainstack new`: an inventory for staging and one for production, with a secret in a vault of its own each."""

from __future__ import annotations

import os
import re
import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer

from plainstack.inventories import DIRECTORY, VAULTS, ready

STAGES = ("staging", "production")
HOSTS = """---
# The servers. Debian 12 or 13, reachable by SSH without a question, as a user who may become root with sudo.
app_servers:
  hosts:
    {host}:
      ansible_host: {address}
  vars:
    ansible_user: {user}
"""
APPS = """---
# docs/reference.md, part 'The apps definition', has every key
apps:
  - name: {name}
    # Relative to the directory of this inventory
    source: {source}
    module: {module}
    # Their DNS records (A, AAAA) must lead to the server before a certificate can be issued
    domains: [{domain}]
    # Environment variables of the app; the value is in vault.yml
    secrets:
      SECRET_KEY: "{{{{ vault_secret_key }}}}"
"""
SERVER = """---
# Address for the account at Let's Encrypt; empty registers without one
certbot_email: "{email}"
"""
OF_STAGE = {
    "staging": "# Certificates that no browser trusts, but no rate limit either\ncertbot_staging: true\n",
    "production": "# What changes something asks for this name first; without a terminal, -e confirmed=production\nconfirm_inventory: production\n",
}
VAULT = "---\nvault_secret_key: {secret}\n"
IGNORE = "# Passwords of vaults belong in no repository\n*\n"
DONE = """Written: {inventories}, and the passwords of their vaults in {vaults}, which git ignores: keep a copy in a safe place.
{staging} is named as the server of staging: change it in {hosts}, where it has another address.
Next: plainstack deploy staging
That is: ansible-playbook plainstack.web.deploy -i {directory}/staging --vault-id staging@{vaults}/staging"""
HOST = re.compile(r"(?:(?P<user>[a-z_][a-z0-9_-]*)@)?(?P<address>[A-Za-z0-9][A-Za-z0-9.:-]*)")


class NewError(Exception):
    """Nothing was written; the message says why."""


def _check(name: str, source: str, module: str, domain: str) -> None:
    """The definition, as a deploy would check it.

    :raises NewError: with what is wrong.
    """
    ready()
    from ansible_collections.plainstack.web.plugins.module_utils.controller.definition import DefinitionError, normalise

    if not os.path.isdir(source):
        raise NewError(f"There is no directory '{source}' with the app's source; nothing was written.")
    try:
        normalise([{"name": name, "source": os.path.abspath(source), "module": module, "domains": [domain]}], os.getcwd(), sources=True)
    except DefinitionError as error:
        raise NewError(f"{error}\nNothing was written.") from None


def _encrypted(text: str, stage: str, password: str) -> str:
    from ansible.parsing.vault import VaultLib, VaultSecret

    encrypted = VaultLib([(stage, VaultSecret(password.encode()))]).encrypt(text, vault_id=stage)
    return str(encrypted.decode() if isinstance(encrypted, bytes) else encrypted)


def _write(path: Path, content: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "x", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, mode)) as stream:
        stream.write(content)


def write(name: str, source: str, module: str, domain: str, server: str, email: str) -> str:
    """Write both inventories; what to do next.

    :param server: the address of production's server, perhaps with a user before an @.
    :raises NewError: when something of it is there, or would not pass a deploy's checks.
    """
    found = HOST.fullmatch(server)
    if not found:
        raise NewError(f"'{server}' is no server, such as web1.example.com or admin@203.0.113.7; nothing was written.")
    if not re.fullmatch(r"[^\s\"\\{}]*", email):
        raise NewError(f"'{email}' is no mail address; nothing was written.")
    directories = [Path(DIRECTORY, stage) for stage in STAGES]
    there = [path for path in (*directories, *(Path(VAULTS, stage) for stage in STAGES)) if path.exists()]
    if there:
        raise NewError(f"{', '.join(map(str, there))} {'are' if there[1:] else 'is'} there already; nothing was written.")
    _check(name, source, module, domain)
    user, addresses = found["user"] or "admin", {"staging": f"staging.{domain}", "production": found["address"]}
    Path(VAULTS).mkdir(mode=0o700, exist_ok=True)
    if not Path(VAULTS, ".gitignore").exists():
        _write(Path(VAULTS, ".gitignore"), IGNORE)
    for stage, directory in zip(STAGES, directories, strict=True):
        password = secrets.token_urlsafe(32)
        everywhere = directory / "group_vars" / "all"
        public = domain if stage == "production" else addresses[stage]
        _write(Path(VAULTS, stage), f"{password}\n", 0o600)
        _write(directory / "hosts.yml", HOSTS.format(host=f"{stage}1", address=addresses[stage], user=user))
        _write(everywhere / "apps.yml", APPS.format(name=name, source=os.path.relpath(source, directory), module=module, domain=public))
        _write(everywhere / "server.yml", SERVER.format(email=email) + OF_STAGE[stage])
        _write(everywhere / "vault.yml", _encrypted(VAULT.format(secret=secrets.token_urlsafe(48)), stage, password), 0o600)
    listed = " and ".join(map(str, directories))
    return DONE.format(inventories=listed, vaults=VAULTS, staging=addresses["staging"], hosts=directories[0] / "hosts.yml", directory=DIRECTORY)


def command(
    name: Annotated[str, typer.Argument(help="Name of the app, of its system user and its units.")],
    source: Annotated[str, typer.Option(prompt="Directory of the app's source", help="Directory of the app's source.")],
    module: Annotated[str, typer.Option(prompt="What Gunicorn imports, such as wsgi:app", help="What Gunicorn imports.")],
    domain: Annotated[str, typer.Option(prompt="Domain of the site", help="Domain of the site; staging's is staging.<domain>.")],
    server: Annotated[str, typer.Option(prompt="Server, such as admin@203.0.113.7", help="Production's server.")],
    email: Annotated[str, typer.Option(help="Address for the account at Let's Encrypt; none without it.")] = "",
) -> None:
    """Write an inventory for staging and one for production."""
    try:
        print(write(name, source, module, domain, server, email))
    except (NewError, OSError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from None
