"""Which engine a service runs: the one named, or with "auto" the best one that can run here, and why."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from web_demo.detokenizer.backend import load
from web_demo.engines import registry

log = logging.getLogger(__name__)

# Best first. Each but the last has a function `unavailable(settings) -> str | None` beside its factory: why it cannot
# run here (weights or packages that are not there, no device). It looks, it does not load.
PREFERENCE: dict[str, tuple[str, ...]] = {
    "s2s": ("funaudiochat", "embedded"),
    "asr": ("funasr", "sherpa", "embedded"),
    "tts": ("cosyvoice3", "sherpa", "embedded"),
}
# What a conversation's own recogniser and voice are chosen among: the big models are in the other two services, not loaded twice.
LIGHT = ("sherpa", "embedded")


@dataclass(frozen=True)
class Choice:
    name: str
    reason: str


def choose(kind: str, settings: Any, among: Sequence[str] = ()) -> Choice:
    """`settings.engine` is a name or "auto", which takes the best of `among` (default: of all). A named engine is never replaced by
    another."""
    if settings.engine != "auto":
        return Choice(settings.engine, "chosen by --engine")
    *preferred, fallback = among or PREFERENCE[kind]
    reasons = []
    for name in preferred:
        module, _, _ = registry.ENGINES[kind][name].partition(":")
        why_not = load(f"{module}:unavailable")(settings)
        if why_not is None:
            return Choice(name, "its weights, packages and device are there")
        reasons.append(f"{name}: {why_not}")
    return Choice(fallback, "; ".join(reasons))
