"""How a service that does not answer is started: a command that works as it is printed, in the folder of the checkout."""

from __future__ import annotations

from urllib.parse import urlsplit

DEFAULT_PORTS = {"asr": 8003, "tts": 8004}
THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


def start_command(name: str, url: str) -> str:
    """For the service `name` that is looked for at `url`. One on another machine has that in a comment behind it."""
    where = urlsplit(url)
    host = where.hostname or "127.0.0.1"
    settings = []
    if host not in THIS_MACHINE:
        settings.append("HOST=0.0.0.0")
    elif host == "::1":
        settings.append("HOST=::1")
    port = where.port or (443 if where.scheme == "https" else 80)
    if port != DEFAULT_PORTS[name]:
        settings.append(f"{name.upper()}_PORT={port}")
    command = " ".join([*settings, f"./scripts/start_services.sh --only {name}"])
    return command if host in THIS_MACHINE else f"{command}  # on {host}"
