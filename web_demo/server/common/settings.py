"""One record of settings a service, filled once in `main` and passed down; its command line is made from it.

A field with `option` in its metadata is an option of the command line: `max_queue` is `--max-queue`, its type and its
default are the field's own. Fields without are for programs and tests.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, is_dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_type_hints

from web_demo.engines import registry
from web_demo.errors import SetupError

API_KEY_VARIABLE = "FUN_AUDIO_API_KEY"
ALLOWED_HOSTS_VARIABLE = "FUN_AUDIO_ALLOWED_HOSTS"
TRUSTED_PROXIES_VARIABLE = "FUN_AUDIO_TRUSTED_PROXIES"


@dataclass(frozen=True)
class Option:
    """`flag` "": none, the value comes from the environment alone. `least` and `most` bound a number."""

    help: str
    flag: str | None = None  # None: from the field's name
    choices: Sequence[str] | Callable[[], Sequence[str]] | None = (
        None  # a function: known when the command line is read
    )
    metavar: str | None = None
    variable: str = ""  # of the environment, where the command line says nothing
    least: float = -math.inf
    most: float = math.inf

    def check(self, flag: str, value: float) -> None:
        """Raises SetupError for a number out of bounds."""
        if not self.least <= value <= self.most:  # NaN is out of all bounds
            bounds = f"at least {self.least}" if self.most == math.inf else f"{self.least} to {self.most}"
            raise SetupError(f"{flag} must be {bounds}, got {value}")


def option(help: str, **how: Any) -> Mapping[str, Option]:
    """For `field(default=…, metadata=option("what it is"))`; `how`: the other fields of Option."""
    return {"option": Option(help, **how)}


TURN_MODEL = option(
    "hears when somebody has finished, where that is to be told by meaning: auto (the model of the package pipecat-ai, where it is "
    "installed), none, or a file with smart-turn v3"
)


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """What all three services have. `kind`: of the engines that the service can run, as in the registry. Raises SetupError
    for a value that cannot be, whoever gives it."""

    kind: ClassVar[str] = ""

    host: str = field(default="127.0.0.1", metadata=option("address to listen on (default: this machine only)"))
    port: int = field(metadata=option("0: a free one", least=0, most=65_535))
    engine: str = field(
        default="auto",
        metadata=option("auto: the real engine when its weights and packages are there, else the embedded one"),
    )
    model_path: Path | None = field(default=None, metadata=option("weights"))
    device: str = field(default="auto", metadata=option("cuda:0, cpu, … (default: the first GPU, else the CPU)"))
    api_key: str = field(
        default="",
        repr=False,
        metadata=option(
            f"clients must send it; better in the environment, as {API_KEY_VARIABLE}", variable=API_KEY_VARIABLE
        ),
    )
    allowed_origins: tuple[str, ...] = field(
        default=(),
        metadata=option(
            "web origin that may use this service besides its own (repeat; * for any)",
            flag="--allowed-origin",
            metavar="ORIGIN",
        ),
    )
    allowed_hosts: tuple[str, ...] = field(
        default=(),
        metadata=option(
            "name by which this service is reached besides addresses and local names (repeat; .example.org for all below it, "
            f"* for any); or in {ALLOWED_HOSTS_VARIABLE}, with commas",
            flag="--allowed-host",
            metavar="NAME",
            variable=ALLOWED_HOSTS_VARIABLE,
        ),
    )
    trusted_proxies: tuple[str, ...] = field(
        default=(),
        metadata=option(
            "address or network of a proxy in front, which is believed whom it speaks for (X-Forwarded-For; repeat; this machine "
            f"is believed anyhow); or in {TRUSTED_PROXIES_VARIABLE}, with commas",
            flag="--trusted-proxy",
            metavar="ADDRESS",
            variable=TRUSTED_PROXIES_VARIABLE,
        ),
    )
    ssl_cert: Path | None = field(default=None, metadata=option("PEM certificate chain: serve https and wss"))
    ssl_key: Path | None = field(default=None, metadata=option("PEM private key of --ssl-cert"))
    drain_s: float = field(default=30.0, metadata=option("seconds that running work may take after SIGTERM"))
    log_level: str = field(
        default="info", metadata=option("what the log tells", choices=("debug", "info", "warning", "error"))
    )

    def __post_init__(self) -> None:
        for each, flag, its in _options(type(self)):
            value = getattr(self, each.name)
            if isinstance(value, int | float):
                its.check(flag, value)
        if (self.ssl_cert is None) != (self.ssl_key is None):
            raise SetupError("--ssl-cert and --ssl-key belong together: give both or none")
        for path in (self.ssl_cert, self.ssl_key):
            if path is not None and not path.is_file():
                raise SetupError(f"{path} (given as --ssl-cert or --ssl-key) is not a file")
        for origin in self.allowed_origins:
            if origin != "*" and "://" not in origin:
                raise SetupError(f"--allowed-origin must look like https://host[:port], or be *; got {origin!r}")
        for name in self.allowed_hosts:
            if "/" in name or ":" in name or not name.strip("."):
                raise SetupError(f"--allowed-host must be a name such as voice.example.org, or *; got {name!r}")

        self.proxies  # noqa: B018  # raises for what is none

    @property
    def proxies(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """`trusted_proxies` as networks. Raises SetupError."""
        try:
            return tuple(ip_network(text, strict=False) for text in self.trusted_proxies)
        except ValueError as error:
            raise SetupError(f"--trusted-proxy must be an address or a network such as 10.0.0.0/24: {error}") from None

    @property
    def scheme(self) -> str:
        return "https" if self.ssl_cert else "http"


S = TypeVar("S", bound=ServiceSettings)


def parse(settings: type[S], argv: Sequence[str] | None = None, *, program: str = "", description: str = "") -> S:
    """The record that a command line asks for; `argv` None: this process's. Raises SetupError; argparse ends the process
    for what is no option at all."""
    parser = argparse.ArgumentParser(prog=program or None, description=description)
    for each, flag, its in _options(settings):
        if flag:
            _add_argument(parser, settings, each, flag, its)
    given: dict[str, Any] = vars(parser.parse_args(argv))
    for each, _, its in _options(settings):
        if its.variable and not given.get(each.name) and (value := os.environ.get(its.variable)):
            is_many = isinstance(each.default, tuple)
            given[each.name] = list(filter(None, map(str.strip, value.split(",")))) if is_many else value
        if isinstance(given.get(each.name), list):
            given[each.name] = tuple(given[each.name])
    return settings(**given)


def _options(settings: type[ServiceSettings]) -> Iterator[tuple[Field[Any], str, Option]]:
    """Each field that is an option, with its flag. A subclass that gives a field another default keeps its option."""
    inherited = {
        each.name: each.metadata["option"]
        for record in reversed(settings.__mro__)
        if is_dataclass(record)
        for each in fields(record)
        if "option" in each.metadata
    }
    for each in fields(settings):
        if its := inherited.get(each.name):
            yield each, f"--{each.name.replace('_', '-')}" if its.flag is None else its.flag, its


def _add_argument(
    parser: argparse.ArgumentParser, settings: type[ServiceSettings], each: Field[Any], flag: str, its: Option
) -> None:
    kind = get_type_hints(settings)[each.name]
    if kind is bool:
        parser.add_argument(flag, dest=each.name, action="store_true", default=each.default, help=its.help)
    elif kind == tuple[str, ...]:
        parser.add_argument(flag, dest=each.name, action="append", default=[], metavar=its.metavar, help=its.help)
    else:
        choices = its.choices() if callable(its.choices) else its.choices
        if each.name == "engine":
            choices = ("auto", *registry.names(settings.kind))
        parser.add_argument(
            flag,
            dest=each.name,
            type=Path if kind == Path | None else kind,
            default=each.default,
            choices=choices,
            metavar=its.metavar,
            help=_with_default(its.help, each.default),
        )


def _with_default(text: str, default: object) -> str:
    if "(default" in text or default in ("", None):
        return text
    return f"{text} (default {f'{default:g}' if isinstance(default, float) else default})"


def configure_logging(level: str) -> None:
    """One line a record on stderr, `key=value` pairs in the message."""
    logging.basicConfig(level=level.upper(), format="%(asctime)s %(levelname)-7s %(name)s %(message)s", force=True)
