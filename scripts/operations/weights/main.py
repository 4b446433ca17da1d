#!/usr/bin/env python3
"""Download the models into pretrained_models/: only what is missing, resumed where it stopped, checked at the end.

Needs the standard library alone. Exit status: 0 all is there, 1 it is not, 2 wrong usage.

environment:
  HF_ENDPOINT           a mirror of Hugging Face, e.g. https://hf-mirror.com
  HF_TOKEN              token for models that need one; never printed
  MODELSCOPE_ENDPOINT   default https://modelscope.cn
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.operations import console
from scripts.operations.weights import download
from scripts.operations.weights.hub import MODELS, SPEAKER_FILE, Hub, HubError, RemoteFile

ROOT = Path(__file__).resolve().parents[3]

DEFAULT = ("s2s", "tts", "asr")


def say(line: str) -> None:
    print(line, flush=True)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./scripts/download_models.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", choices=("huggingface", "modelscope"), default="huggingface")
    parser.add_argument("--endpoint", help="address of the hub, or of a mirror of it (before the environment's)")
    parser.add_argument("--revision", help="branch, tag or commit (default: the hub's main branch)")
    parser.add_argument(
        "--only",
        action="append",
        choices=tuple(MODELS),
        help="just this model (repeat); without it: " + ", ".join(DEFAULT) + ". whisper is for scheme B",
    )
    parser.add_argument("--models-dir", type=Path, default=ROOT / "pretrained_models")
    parser.add_argument("--check", action="store_true", help="fetch nothing, read every file again and compare")
    return parser.parse_args(argv)


def hub_of(args: argparse.Namespace, environment: Mapping[str, str]) -> Hub:
    if args.source == "modelscope":
        return Hub(
            "modelscope",
            (args.endpoint or environment.get("MODELSCOPE_ENDPOINT") or "https://modelscope.cn").rstrip("/"),
        )
    endpoint = args.endpoint or environment.get("HF_ENDPOINT") or "https://huggingface.co"
    return Hub("huggingface", endpoint.rstrip("/"), environment.get("HF_TOKEN", ""))


def files_of(hub: Hub, name: str, revision: str | None) -> list[RemoteFile]:
    files = hub.files(MODELS[name], revision)
    if name == "tts" and not any(file.path == SPEAKER_FILE for file in files):
        try:
            files.append(hub.speaker_file())
        except HubError as error:
            say(f"note: {error}. The S2S voice needs {MODELS['tts'].folder}/{SPEAKER_FILE}: put it there by hand")
    return files


@console.program
def main(argv: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    args = parse(sys.argv[1:] if argv is None else argv)
    hub = hub_of(args, environment)
    try:
        for name in dict.fromkeys(args.only or DEFAULT):
            folder = args.models_dir / MODELS[name].folder
            files = files_of(hub, name, args.revision)
            total = download.size_text(sum(file.size for file in files))
            if args.check:
                faults = download.incomplete(files, folder)
                if faults:
                    raise HubError(f"{folder} is not complete: {', '.join(faults)}")
            elif fetched := download.fetch(hub, files, folder, say=say):
                say(f"{name}: fetched {fetched} of {len(files)} files")
            say(f"{name}: complete, {len(files)} files, {total}, in {folder}")
    except (HubError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: run the same command to go on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
