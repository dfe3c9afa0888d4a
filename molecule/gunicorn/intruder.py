"""Runs as a command of the app, in its sandbox: tries what an app that was broken into would try, and prints as JSON what it could do."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import signal
import socket
import stat
from collections.abc import Iterator

NOT_TRIED = ("/proc", "/sys")  # what is there is the kernel's; whether it can be written is looked at below
LIBC = ctypes.CDLL(None, use_errno=True)


def everything() -> Iterator[tuple[str, list[str], list[str]]]:
    # What lies in a directory that cannot be listed is still known by its name
    for top in ("/", os.environ["PLAINSTACK_SHARED"], os.getcwd()):
        for path, directories, files in os.walk(top):
            directories[:] = [name for name in directories if os.path.join(path, name) not in NOT_TRIED]
            yield path, directories, files


def writable() -> list[str]:
    """Directories in which a file can be made."""
    found = []
    for path, _directories, _files in everything():
        with contextlib.suppress(OSError):
            os.close(os.open(f"{path}/intruder", os.O_CREAT | os.O_WRONLY, 0o600))
            found.append(path)
            os.unlink(f"{path}/intruder")
    return sorted({*found})


def changeable() -> list[str]:
    """Files and settings of the kernel that can be opened for writing, outside of those directories and of the process's own."""
    found = []
    for path, _directories, files in [*everything(), *os.walk("/proc/sys"), *os.walk("/sys/kernel")]:
        for name in files:
            whole = os.path.join(path, name)
            with contextlib.suppress(OSError):
                if stat.S_ISREG(os.lstat(whole).st_mode):
                    os.close(os.open(whole, os.O_WRONLY))
                    found.append(whole)
    return sorted({*found})


def sockets() -> list[str]:
    """Unix sockets that take a connection, and those that let their mode be changed."""
    found = []
    for path, _directories, files in everything():
        for name in files:
            whole = os.path.join(path, name)
            try:
                if not stat.S_ISSOCK(os.lstat(whole).st_mode):
                    continue
            except OSError:
                continue
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
                with socket.socket(socket.AF_UNIX, kind) as connection, contextlib.suppress(OSError):
                    connection.connect(whole)
                    found.append(whole)
                    break
            with contextlib.suppress(OSError):
                os.chmod(whole, 0o777)
                found.append(f"chmod {whole}")
    return sorted({*found})


def fits(directory: str) -> int:
    """How many files can be made in it, up to 20,000."""
    made = 0
    with contextlib.suppress(OSError):
        while made < 20000:
            os.close(os.open(f"{directory}/intruder-{made}", os.O_CREAT | os.O_WRONLY, 0o600))
            made += 1
    for number in range(made):
        os.unlink(f"{directory}/intruder-{number}")
    return made


def killable() -> list[int]:
    """Processes of others that it can send a signal to."""
    found = []
    for process in range(1, 2000):
        with contextlib.suppress(OSError):
            os.kill(process, 0)
            if os.stat(f"/proc/{process}").st_uid != os.getuid():
                found.append(process)
    with contextlib.suppress(OSError):
        os.kill(1, signal.SIGCONT)
        found.append(1)
    return sorted({*found})


def calls() -> list[str]:
    """System calls that an app has no use for and that are not refused."""
    tried = {"keyctl": (250, 0, -3, 0), "io_uring_setup": (425, 1, 0), "unshare": (272, 0x10000000), "mount": (165, 0, 0, 0, 0), "bpf": (321, 0, 0, 0)}
    found = []
    for name, arguments in tried.items():
        ctypes.set_errno(0)
        LIBC.syscall(*arguments)
        if ctypes.get_errno() != errno.EPERM:
            found.append(name)
    return found


print(
    json.dumps(
        {
            "writable": writable(),
            "changeable": changeable(),
            "sockets": sockets(),
            "apps": [os.listdir(path) for path in ("/srv", "/etc/plainstack")],
            "fits": {path: fits(path) for path in ("/tmp", "/var/tmp", "/dev/shm")},
            "killable": killable(),
            "calls": calls(),
        }
    )
)
