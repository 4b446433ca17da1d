#!/usr/bin/env python3
"""Read an archive out: texts, rows of JSON lines or CSV, and books, on this machine or on a Ray cluster; go on where it stopped.

    scripts/synthesize_archive.py book.epub sound/ --voice 英文女
    scripts/synthesize_archive.py texts/ sound/ --format mp3
    scripts/synthesize_archive.py sentences.jsonl sound/ --format wav --address auto

A book (.epub, .md) becomes one file with its chapters in it (m4b), a text (.txt) one file. Rows have `text`, and what else a
request to the service may say: `voice`, `speed`, `language`; `id` or `name` is what the file is called. OUT/manifest.parquet has a
row for each; the same command once more does what is missing, and Ctrl-C finishes what is in work.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

try:
    from web_demo.archive import program
    from web_demo.archive.sound_files import KINDS
    from web_demo.archive.speaking import TEXTS, Synthesis, voice_fields
    from web_demo.engines import registry
    from web_demo.server.tts.settings import REMOTE_KEY_VARIABLE, TtsSettings
except ModuleNotFoundError as missing:
    if os.environ.get("FUN_AUDIO_ENVIRONMENT"):
        raise
    helper = Path(__file__).resolve().parent / "operations" / "in_environment.sh"
    print(f"{missing.name} is not installed for {sys.executable}: running in .venv", file=sys.stderr)
    os.execv("/usr/bin/env", ["env", "bash", str(helper), *sys.argv])  # noqa: S606


def main(argv: Sequence[str] | None = None) -> int:
    parser = program.parser(__doc__, "texts", registry.names("tts"))
    parser.add_argument("--format", choices=KINDS, default="m4b", help="of the files (default m4b)")
    parser.add_argument("--voice", default="", help="whose, where a row does not say (default 中文女)")
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--language", default="", help="of texts that do not tell theirs")
    parser.add_argument("--speakers-dir", type=Path, help="folder with voices that were added")
    parser.add_argument("--prompt-dir", type=Path, help="folder whose recordings `prompt_wav` of a row may name")
    args = parser.parse_args(argv)

    def stages() -> Synthesis:
        settings = TtsSettings(
            engine=args.engine,
            device=args.device,
            base_url=args.base_url,
            speakers_dir=args.speakers_dir,
            prompt_dir=args.prompt_dir,
            remote_api_key=os.environ.get(REMOTE_KEY_VARIABLE, ""),
            **({"model_path": args.model_path.absolute()} if args.model_path else {}),
            **({"remote_model": args.remote_model} if args.remote_model else {}),
        )
        return Synthesis(settings, args.format, voice_fields(args.voice, args.speed, args.language))

    return program.main_of(args, stages, TEXTS, "texts", rows=False)


if __name__ == "__main__":
    sys.exit(main())
