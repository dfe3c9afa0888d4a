"""Look at the certificates with one quick command; run the module only where one is missing or not as wanted.

A module costs some 0.4 s a host before it does anything, and most runs change nothing.
"""

from __future__ import annotations

import shlex
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.plainstack.web.plugins.module_utils.acme import LETSENCRYPT, X509, as_wanted, parse, renewal

MARK = "--plainstack--"


def look(names: list[str]) -> str:
    """The command: certbot's path, then for each certificate what OpenSSL says of it and certbot's settings for it, between marks."""
    parts = ["command -v certbot"]
    for name in map(shlex.quote, names):
        parts += [f"{shlex.join(X509)} {LETSENCRYPT}/live/{name}/cert.pem", f"cat {LETSENCRYPT}/renewal/{name}.conf"]
    return f"; echo {MARK}; ".join(parts)


def fine(output: str, certificates: list[dict[str, Any]], server: str) -> bool:
    """Whether certbot is there and every certificate is as wanted."""
    certbot, *texts = [part.strip() for part in output.replace("\r\n", "\n").split(f"{MARK}\n")]
    if not certbot or len(texts) != 2 * len(certificates):
        return False
    pairs = zip(certificates, texts[0::2], texts[1::2], strict=True)
    return all("notAfter=" in x509 and as_wanted(parse(x509), renewal(settings), wanted["domains"], server) for wanted, x509, settings in pairs)


class ActionModule(ActionBase):
    """Skip the module where it would change nothing."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result, or that nothing is to be done."""
        super().run(tmp, task_vars)
        certificates = self._task.args["certificates"]
        said = self._low_level_execute_command(look([wanted["name"] for wanted in certificates]))
        if fine(said["stdout"], certificates, self._task.args["server"]):
            return {"changed": False, "obtained": [], "adjusted": [], "installed": True}
        return self._execute_module("plainstack.web.certificate", self._task.args, task_vars=task_vars)
