"""Look at what the configuration of nginx depends on, with one quick command: a module costs some 0.4 s a host before it does anything."""

from __future__ import annotations

import re
import shlex
from typing import Any

from ansible.plugins.action import ActionBase

MARK = "--plainstack--"


def look(packages: list[str], certificates: list[str], coming: dict[str, str]) -> str:
    """The command; prints its answers in the order of `read`, with a mark after each."""
    parts = [
        f"dpkg-query --show --showformat='${{Package}} ${{db:Status-Status}}\\n' {shlex.join(packages)} 2>/dev/null",
        "/usr/sbin/nginx -v 2>&1",
        "cat /proc/net/if_inet6 2>/dev/null",  # no such file or an empty one: compiled out, or switched off by sysctl
        "openssl list -kem-algorithms 2>/dev/null",  # nginx does not start with a curve that OpenSSL does not know
        f"for path in {shlex.join(certificates)}; do test -e $path && echo $path; done",
    ]
    for path in certificates:
        # By the host's own store, which also means: not expired
        verify = "openssl verify -CApath /etc/ssl/certs -untrusted $chain $chain >/dev/null 2>&1 && echo trusted"
        if path in coming:  # not yet at its place
            parts.append(f"chain=$(mktemp); printf %s {shlex.quote(coming[path])} > $chain; {verify}; rm -f $chain")
        else:
            parts.append(f"chain={shlex.quote(path)}; {verify}")
    return "".join(f"{part}; echo {MARK}; " for part in parts) + "true"


def read(output: str, packages: list[str], certificates: list[str], coming: dict[str, str]) -> dict[str, Any]:
    """What the command said."""
    installed, version, ipv6, kems, there, *chains = [part.strip() for part in output.replace("\r\n", "\n").split(f"{MARK}\n")]
    found = re.search(r"nginx/([0-9.]+)", version)
    return {
        "missing": [package for package in packages if f"{package} installed" not in installed.splitlines()],
        "version": found[1] if found else "0",
        "ipv6": bool(ipv6),
        "post_quantum": "X25519MLKEM768" in kems,
        "present": [path for path in certificates if path in coming or path in there.splitlines()],
        "trusted": [path for path, said in zip(certificates, chains, strict=False) if said == "trusted"],
    }


class ActionModule(ActionBase):
    """The whole of `nginx_info`; see the documentation of the module."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """What was found."""
        super().run(tmp, task_vars)
        arguments = self._task.args
        what = (arguments.get("packages", []), arguments.get("certificates", []), arguments.get("coming", {}))
        said = self._low_level_execute_command(look(*what))
        if said["stdout"].count(MARK) < 5:
            return {"failed": True, "msg": f"The host could not be looked at: {said['stdout']} {said['stderr']}"}
        return {"changed": False, **read(said["stdout"], *what)}
