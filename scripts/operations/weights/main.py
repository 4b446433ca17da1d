#!/usr/bin/env python3
"""Download the models into pretrained_models/: only what is missing, resumed where it stopped, checked at the end.

With --laptop, the recogniser and the voice of a machine without a GPU (--engine sherpa) instead of the big models.

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
from scripts.operations.weights import download, laptop, unpack
from scripts.operations.weights.hub import MODELS, SPEAKER_FILE, Hub, HubError, RemoteFile

ROOT = Path(__file__).resolve().parents[3]

DEFAULT = ("s2s", "tts", "asr")


def say(line: str) -> None:
    print(line, flush=True)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./scripts/download_models.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--source",
        choices=laptop.SOURCES,
        help="default: huggingface; with --laptop the first that answers. github is for --laptop alone",
    )
    parser.add_argument(
        "--laptop",
        action="store_true",
        help="recognition and a voice for a machine without a GPU, without --only: " + ", ".join(laptop.DEFAULT),
    )
    parser.add_argument("--endpoint", help="address of the hub, or of a mirror of it (before the environment's)")
    parser.add_argument("--revision", help="branch, tag or commit (default: the hub's main branch)")
    parser.add_argument(
        "--only",
        action="append",
        choices=(*MODELS, *laptop.MODELS),
        help="just this model (repeat); without it: "
        + ", ".join(DEFAULT)
        + ". whisper is for scheme B; with --laptop: "
        + ", ".join(laptop.MODELS),
    )
    parser.add_argument("--models-dir", type=Path, default=ROOT / "pretrained_models")
    parser.add_argument("--check", action="store_true", help="fetch nothing, read every file again and compare")
    args = parser.parse_args(argv)
    known = laptop.MODELS if args.laptop else MODELS
    if strange := [name for name in args.only or () if name not in known]:
        parser.error(
            f"--only {strange[0]} is {'not for' if args.laptop else 'for'} --laptop; there are: {', '.join(known)}"
        )
    if args.source == "github" and not args.laptop:
        parser.error("--source github is for --laptop: the big models are not there")
    return args


def hub_of(args: argparse.Namespace, environment: Mapping[str, str], source: str) -> Hub:
    if source == "github":
        return Hub("github", "")
    if source == "modelscope":
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


def laptop_hubs(args: argparse.Namespace, environment: Mapping[str, str], source: str) -> dict[str, Hub]:
    """`--endpoint` is that of `source`; what a mirror of it does not have comes from where it is."""
    mirrored = {"HF_ENDPOINT": laptop.HF_MIRROR} if source == "modelscope" else {}
    hubs = {}
    for each in laptop.SOURCES:
        own = argparse.Namespace(endpoint=args.endpoint if each == source else None)
        hubs[each] = hub_of(own, {**mirrored, **environment}, each)
    return hubs


def get_laptop(args: argparse.Namespace, environment: Mapping[str, str]) -> None:
    """Raises HubError."""
    sources = (args.source,) if args.source else laptop.SOURCES
    for name in dict.fromkeys(args.only or laptop.DEFAULT):
        model = laptop.MODELS[name]
        folder = args.models_dir / model.folder
        source, listed = _first_listing(model, sources, args, environment)
        size = download.size_text(listed.size)
        say(f"{name}: {model.about}; {size} from {source}")
        say(f"{name}: licence {listed.licence + ', ' if listed.licence else ''}see {model.page}")
        hubs = laptop_hubs(args, environment, source)
        if args.check:
            faults = download.incomplete(listed.files, folder)
            faults += [file.path for file in listed.archives if not unpack.unpacked(file, folder)]
            if faults:
                raise HubError(f"{folder} is not complete: {', '.join(faults)}")
        else:
            download.fetch(hubs[source], listed.files, folder, say=say)
            for archive in listed.archives:
                _get_archive(hubs[source], archive, model, folder)
        if missing := [file for file in model.files if not (folder / file).is_file()]:
            raise HubError(f"{source} gave no {', '.join(missing)} for {folder}: try another --source")
        say(f"{name}: complete, {len(model.files)} files, {size}, checked against what {source} lists, in {folder}")
    say("next: ./scripts/start_services.sh --with-tts")


def _first_listing(
    model: laptop.LaptopModel, sources: Sequence[str], args: argparse.Namespace, environment: Mapping[str, str]
) -> tuple[str, laptop.Listed]:
    for source in sources:
        if source not in model.places:
            why = HubError(f"{source} does not have {model.folder}; there are: {', '.join(model.places)}")
        else:
            try:
                hubs = laptop_hubs(args, environment, source)
                return source, laptop.listed(model, source, hubs, args.revision)
            except HubError as error:
                why = error
        if source == sources[-1]:
            raise why
        say(f"note: {why}; trying {sources[sources.index(source) + 1]}")
    raise AssertionError("there is no source")


def _get_archive(hub: Hub, archive: RemoteFile, model: laptop.LaptopModel, folder: Path) -> None:
    if unpack.unpacked(archive, folder):
        return
    download.fetch(hub, [archive], folder, say=say)
    say(f"{archive.path}: unpacking")
    unpack.unpack(folder / archive.path, archive, model.files, folder)
    (folder / archive.path).unlink()


@console.program
def main(argv: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    args = parse(sys.argv[1:] if argv is None else argv)
    try:
        if args.laptop:
            get_laptop(args, environment)
            return 0
        hub = hub_of(args, environment, args.source or "huggingface")
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
