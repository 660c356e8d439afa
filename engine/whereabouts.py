"""On which machine this process runs, and for whom: what the audit trail says of what no request has asked for."""

import os
import pwd
import re
import socket
from contextlib import suppress

_LONGEST = 64


def machine_name() -> str:
    """What the machine calls itself, in printable ASCII."""
    return _plain(socket.gethostname())


def local_source() -> str:
    """For commands and starts, in the place of an address: `local:host=…,uid=…,user=…,sudo=…`.

    The user is whoever has begun the process, without a name where nobody has that number; `sudo` is whoever has called
    sudo for it, if anybody has.
    """
    uid = os.getuid()
    parts = [f"host={machine_name()}", f"uid={uid}"]
    with suppress(KeyError):  # as in a container that was given a number and no name for it
        parts.append(f"user={_plain(pwd.getpwuid(uid).pw_name)}")
    if sudo := os.environ.get("SUDO_USER"):
        parts.append(f"sudo={_plain(sudo)}")
    return f"local:{','.join(parts)}"


def _plain(name: str) -> str:
    """So that no name reads like another part, or moves a terminal."""
    return re.sub(r"[^!-~]|[,=]", "?", name)[:_LONGEST]
