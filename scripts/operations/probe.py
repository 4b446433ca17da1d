"""What a service's `GET /health` says, and whether a port is free."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any, Literal

TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Health:
    status: Literal["silent", "loading", "healthy", "unhealthy"]
    reason: str = ""
    body: dict[str, Any] | None = None


def health(url: str) -> Health:
    """`silent`: nothing answers (yet). A 200 with any other body than our services' JSON is healthy: vLLM's is empty."""
    try:
        with urllib.request.urlopen(  # noqa: S310  # the scheme is ours
            f"{url}/health", timeout=TIMEOUT_S, context=_unverified() if url.startswith("https") else None
        ) as response:
            status, text = response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            status, text = error.code, error.read()
    except (OSError, http.client.HTTPException) as error:
        return Health("silent", str(error))
    body = _json_object(text)
    reported = body.get("status")
    reason = str(body.get("reason", ""))
    if status == 200 and reported in (None, "healthy"):
        return Health("healthy", body=body)
    if status == 503 and reported == "loading":
        return Health("loading", reason, body)
    if status == 503 and reported is None:  # not one of our services: a balancer in front of none that is ready
        return Health("loading", "no service behind it is ready", body)
    return Health("unhealthy", reason or f"/health answered status {status}", body)


def port_fault(host: str, port: int) -> str | None:
    """Why nothing can listen there, or None."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
    except (OSError, OverflowError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None


def reachable(host: str) -> str:
    """The address by which this machine reaches a service that listens on `host`."""
    name = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"[{name}]" if ":" in name else name


def _unverified() -> ssl.SSLContext:
    """The certificate is for the public name, not for the loopback address that is asked here."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _json_object(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
