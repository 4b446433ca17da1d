"""Engines by name, imported only when chosen, so that the embedded ones need none of the big packages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from web_demo.detokenizer.backend import load
from web_demo.engines.remedies import MODELS, get_packages
from web_demo.errors import SetupError

# kind -> name -> "module:factory". A factory takes the service's settings as one object and returns the engine.
ENGINES: dict[str, dict[str, str]] = {
    "s2s": {
        "embedded": "web_demo.engines.s2s.cascade.engine:create",
        "funaudiochat": "web_demo.engines.s2s.funaudiochat.engine:create",
    },
    "asr": {
        "embedded": "web_demo.engines.asr.embedded:create",
        "funasr": "web_demo.engines.asr.funasr:create",
        "openai": "web_demo.engines.asr.openai:create",
        "sherpa": "web_demo.engines.asr.sherpa.engine:create",
    },
    "tts": {
        "embedded": "web_demo.engines.tts.embedded:create",
        "cosyvoice3": "web_demo.engines.tts.cosyvoice3:create",
        "cosyvoice": "web_demo.engines.tts.cosyvoice:create",
        "openai": "web_demo.engines.tts.openai:create",
        "sherpa": "web_demo.engines.tts.sherpa.engine:create",
    },
}


def names(kind: str) -> tuple[str, ...]:
    return tuple(ENGINES[kind])


def factory(kind: str, name: str) -> Callable[..., Any]:
    """The factory of an engine; raises SetupError for an unknown name, or when a package that it needs is missing."""
    reference = ENGINES[kind].get(name)
    if reference is None:
        raise SetupError(f"unknown {kind} engine {name!r}; there are: auto, {', '.join(ENGINES[kind])}")
    try:
        return load(reference)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in ("web_demo", "utils"):
            raise  # ours: a defect, not a missing package
        raise SetupError(
            f"the {kind} engine {name!r} needs the Python package {error.name!r}, which is not installed; "
            f"{get_packages('requirements.txt')} (or {MODELS}, which has all of it)"
        ) from error
