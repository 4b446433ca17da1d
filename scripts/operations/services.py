"""The services and their command lines. Pure: nothing is started or looked up here."""

from __future__ import annotations

import itertools
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scripts.operations.probe import reachable


class UsageError(Exception):
    """What was asked for cannot be started; the message says why and what to do."""


@dataclass(frozen=True)
class Service:
    """`prefix` names its variables: PREFIX_PORT, and PREFIX_ARGS for further options of the service itself."""

    name: str
    title: str
    module: str
    port: int
    log: str
    use: str

    @property
    def prefix(self) -> str:
        return self.name.upper()

    def exists(self, root: Path) -> bool:
        return root.joinpath(*self.module.split(".")).with_suffix(".py").is_file()


S2S = Service("s2s", "speech to speech", "web_demo.server.server", 8002, "server.log", "/")
ASR = Service("asr", "speech to text", "web_demo.server.asr_server", 8003, "asr_server.log", "/api/transcribe")
TTS = Service("tts", "text to speech", "web_demo.server.tts_server", 8004, "tts_server.log", "/api/synthesize")


@dataclass(frozen=True)
class Options:
    """What the person who starts the services chose. None leaves the choice to the service."""

    tts_gpu: int | None = None  # of the S2S detokenizer, and of the text-to-speech service unless that has its own
    asr_device: str | None = None
    s2s_device: str | None = None
    tts_device: str | None = None
    with_asr: bool = True
    with_tts: bool = False
    use_vllm: bool = False
    embedded: frozenset[str] = frozenset()  # names of services for whose real engine there is no room

    def __post_init__(self) -> None:
        if self.use_vllm and not self.with_tts:
            raise UsageError("--use-vllm is for the text-to-speech service: add --with-tts")


@dataclass(frozen=True)
class Launch:
    """One program to start: `url` is its address as seen from this machine."""

    name: str
    title: str
    command: tuple[str, ...]
    host: str
    port: int
    log: Path
    use: str = "/"
    secure: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)  # on top of the inherited one
    port_setting: str = ""  # the variable that moves it, where that is not called after the service

    def __str__(self) -> str:
        """As a line for a shell."""
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        return shlex.join([*(["env", *variables] if variables else []), *self.command])

    @property
    def url(self) -> str:
        return f"{'https' if self.secure else 'http'}://{reachable(self.host)}:{self.port}"


def family(name: str) -> str:
    """The service that is meant by its name, where replicas of it have numbers behind it: s2s of s2s-2."""
    return name.partition("-")[0]


def choose(options: Options, root: Path) -> list[Service]:
    """The services to start: those asked for whose code is in this checkout."""
    wanted = {S2S: True, ASR: options.with_asr, TTS: options.with_tts}
    return [service for service, chosen in wanted.items() if chosen and service.exists(root)]


def launch(
    service: Service,
    options: Options,
    environment: Mapping[str, str],
    log_dir: Path,
    extra: tuple[str, ...] = (),
    python: str = sys.executable,
) -> Launch:
    """Raises UsageError for a port or options in the environment that cannot be."""
    host = environment.get("HOST") or "127.0.0.1"
    port = port_of(service.prefix, service.port, environment)
    own = words_of(f"{service.prefix}_ARGS", environment)
    command = (
        python,
        "-m",
        service.module,
        "--host",
        host,
        "--port",
        str(port),
        *_option("--engine", "embedded" if service.name in options.embedded else None),
        *_choices(service, options, environment),
        *_neighbours(service, environment),
        *extra,
        *own,
    )
    return Launch(
        name=service.name,
        title=service.title,
        command=command,
        host=host,
        port=port,
        log=log_dir / service.log,
        use=service.use,
        secure=argument(service, "--ssl-cert", environment) is not None,
    )


def address(service: Service, environment: Mapping[str, str], host: str | None = None, port: int | None = None) -> str:
    """Where a service is that was started in this environment, but for what is given. Raises UsageError."""
    where = reachable(environment.get("HOST") or "127.0.0.1") if host is None else reachable(host)
    number = port_of(service.prefix, service.port, environment) if port is None else port
    secure = argument(service, "--ssl-cert", environment) is not None
    return f"{'https' if secure else 'http'}://{where}:{number}"


def argument(service: Service, name: str, environment: Mapping[str, str]) -> str | None:
    """The value that PREFIX_ARGS gives an option, the last where there are several. Raises UsageError."""
    words = words_of(f"{service.prefix}_ARGS", environment)
    values = [following for word, following in itertools.pairwise(words) if word == name]
    values += [word.partition("=")[2] for word in words if word.startswith(f"{name}=")]
    return values[-1] if values else None


def port_of(prefix: str, default: int, environment: Mapping[str, str]) -> int:
    text = environment.get(f"{prefix}_PORT") or str(default)
    if not text.isdecimal() or not 1 <= int(text) <= 65_535:
        raise UsageError(f"{prefix}_PORT must be a port from 1 to 65535, got {text!r}")
    return int(text)


def check_ports(launches: list[Launch]) -> None:
    seen: dict[int, str] = {}
    for item in launches:
        if item.port in seen:
            raise UsageError(f"{seen[item.port]} and {item.name} were both given port {item.port}")
        seen[item.port] = item.name


def _neighbours(service: Service, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Where a service finds the others that it uses, if not at their usual ports."""
    host = reachable(environment.get("HOST") or "127.0.0.1")
    used = {"s2s": (ASR, TTS), "tts": (ASR,)}.get(service.name, ())
    ports = {other: port_of(other.prefix, other.port, environment) for other in used}
    moved = [(other, port) for other, port in ports.items() if port != other.port]
    return tuple(word for other, port in moved for word in (f"--{other.name}-url", f"http://{host}:{port}"))


def _choices(service: Service, options: Options, environment: Mapping[str, str]) -> tuple[str, ...]:
    gpu = None if options.tts_gpu is None else str(options.tts_gpu)
    match service.name:
        case "s2s":
            return (*_option("--device", options.s2s_device), *_option("--tts-gpu", gpu))
        case "asr":
            return _option("--device", options.asr_device)
        case _:
            device = options.tts_device or (gpu and f"cuda:{gpu}")
            return (*_option("--device", device), *(_vllm(environment) if options.use_vllm else ()))


def _vllm(environment: Mapping[str, str]) -> tuple[str, ...]:
    """VLLM names the program of another environment than .venv-vllm: its Python stands beside it."""
    program = environment.get("VLLM")
    return ("--use-vllm", *_option("--vllm-python", str(Path(program).with_name("python")) if program else None))


def _option(name: str, value: str | None) -> tuple[str, ...]:
    return (name, value) if value is not None else ()


def words_of(name: str, environment: Mapping[str, str]) -> list[str]:
    try:
        return shlex.split(environment.get(name, ""))
    except ValueError as error:
        raise UsageError(f"{name} cannot be read as a command line: {error}") from error
