"""The settings that all three services have. Each service extends the record, fills it once in `main`, and passes it down."""

from __future__ import annotations

import argparse
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from web_demo.errors import SetupError

API_KEY_VARIABLE = "FUN_AUDIO_API_KEY"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """`port` 0 takes a free port. `engine` is a name of the registry, or "auto"."""

    port: int
    host: str = "127.0.0.1"
    engine: str = "auto"
    model_path: Path | None = None
    device: str = "auto"
    api_key: str = field(default="", repr=False)
    allowed_origins: tuple[str, ...] = ()
    ssl_cert: Path | None = None
    ssl_key: Path | None = None
    drain_s: float = 30.0  # how long running work may go on after SIGTERM
    log_level: str = "info"

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise SetupError(f"--port must be 0 to 65535, got {self.port}")
        if (self.ssl_cert is None) != (self.ssl_key is None):
            raise SetupError("--ssl-cert and --ssl-key belong together: give both or none")
        for path in (self.ssl_cert, self.ssl_key):
            if path is not None and not path.is_file():
                raise SetupError(f"{path} (given as --ssl-cert or --ssl-key) is not a file")
        for origin in self.allowed_origins:
            if origin != "*" and "://" not in origin:
                raise SetupError(f"--allowed-origin must look like https://host[:port], or be *; got {origin!r}")

    @property
    def scheme(self) -> str:
        return "https" if self.ssl_cert else "http"

    @property
    def loopback_only(self) -> bool:
        return self.host in LOOPBACK


def add_common_arguments(
    parser: argparse.ArgumentParser, *, port: int, engines: tuple[str, ...], model_path: str
) -> None:
    """The options that every service takes."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=port, help=f"default {port}")
    parser.add_argument(
        "--engine",
        default="auto",
        choices=("auto", *engines),
        help="auto: the real engine when its weights and packages are there, else the embedded one",
    )
    parser.add_argument("--model-path", type=Path, default=Path(model_path), help=f"weights (default {model_path})")
    parser.add_argument("--device", default="auto", help="cuda:0, cpu, … (default: the first GPU, else the CPU)")
    parser.add_argument(
        "--api-key", default="", help=f"clients must send it; better in the environment, as {API_KEY_VARIABLE}"
    )
    parser.add_argument(
        "--allowed-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="web origin that may use this service besides its own (repeat; * for any)",
    )
    parser.add_argument("--ssl-cert", type=Path, help="PEM certificate chain: serve https and wss")
    parser.add_argument("--ssl-key", type=Path, help="PEM private key of --ssl-cert")
    parser.add_argument("--drain-s", type=float, default=30.0, help="seconds that running work may take after SIGTERM")
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))


def common_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of `ServiceSettings` from the parsed common options."""
    return {
        "host": args.host,
        "port": args.port,
        "engine": args.engine,
        "model_path": args.model_path,
        "device": args.device,
        "api_key": args.api_key or os.environ.get(API_KEY_VARIABLE, ""),
        "allowed_origins": tuple(args.allowed_origin),
        "ssl_cert": args.ssl_cert,
        "ssl_key": args.ssl_key,
        "drain_s": args.drain_s,
        "log_level": args.log_level,
    }


def configure_logging(level: str) -> None:
    """One line a record on stderr, `key=value` pairs in the message."""
    logging.basicConfig(level=level.upper(), format="%(asctime)s %(levelname)-7s %(name)s %(message)s", force=True)
