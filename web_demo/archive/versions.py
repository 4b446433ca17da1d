"""Which version of what does the work, for the manifest."""

from __future__ import annotations

import importlib.metadata

OURS = "fun-audio-chat-stack"
PACKAGES = {  # of engines that are packages of others
    ("asr", "embedded"): "pocketsphinx",
    ("asr", "funasr"): "funasr",
    ("asr", "sherpa"): "sherpa-onnx",
    ("tts", "embedded"): "espeakng-loader",
    ("tts", "sherpa"): "sherpa-onnx",
}


def engine_version(kind: str, name: str) -> str:
    """Of the package that an engine is, else of this program; its name alone where it is not installed as a package."""
    package = PACKAGES.get((kind, name), OURS)
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return package
