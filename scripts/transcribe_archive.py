#!/usr/bin/env python3
"""Transcribe an archive: any number of recordings, on this machine or on a Ray cluster, and go on where it stopped.

    scripts/transcribe_archive.py recordings/ texts/
    scripts/transcribe_archive.py 'talks/**/*.mp4' lectures.jsonl texts/ --formats srt,json --language English
    scripts/transcribe_archive.py s3://bucket/calls s3://bucket/texts --address ray://head:10001

Each recording gets a result, whole or not at all, and a row in OUT/manifest.parquet. The same command once more does what is
missing; Ctrl-C finishes what is in work. A manifest (.jsonl, .csv) names recordings in its column `path`, may have `language` and
`hotwords` for each, and its other columns come through.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

try:
    from web_demo.archive import program
    from web_demo.archive.listing import RECORDINGS
    from web_demo.archive.recognising import Recognition
    from web_demo.engines import registry
    from web_demo.server.asr.settings import AsrSettings
except ModuleNotFoundError as missing:
    if os.environ.get("FUN_AUDIO_ENVIRONMENT"):
        raise
    helper = Path(__file__).resolve().parent / "operations" / "in_environment.sh"
    print(f"{missing.name} is not installed for {sys.executable}: running in .venv", file=sys.stderr)
    os.execv("/usr/bin/env", ["env", "bash", str(helper), *sys.argv])  # noqa: S606


def main(argv: Sequence[str] | None = None) -> int:
    parser = program.parser(__doc__, "recordings", registry.names("asr"))
    parser.add_argument(
        "--formats", default="json", help="of the results: json, srt, vtt, txt, with commas (default json)"
    )
    parser.add_argument("--language", default="", help="a code or a name (default: the engine's own)")
    parser.add_argument("--hotwords", default="", help="as in a request to the service")
    parser.add_argument("--max-audio-s", type=float, default=86_400.0, help="longest recording (default 86400)")
    parser.add_argument(
        "--batch-s", type=float, default=0.0, help="seconds of sound an engine gets at once (default: by engine)"
    )
    args = parser.parse_args(argv)

    def stages() -> Recognition:
        settings = AsrSettings(
            engine=args.engine,
            device=args.device,
            base_url=args.base_url,
            max_audio_s=args.max_audio_s,
            processes=1,  # each worker has one
            **({"model_path": args.model_path.absolute()} if args.model_path else {}),
            **({"remote_model": args.remote_model} if args.remote_model else {}),
        )
        formats = [name.strip() for name in args.formats.split(",") if name.strip()]
        return Recognition(settings, formats, language=args.language, words=args.hotwords, batch_s=args.batch_s)

    return program.main_of(args, stages, RECORDINGS, "recordings", rows=True)


if __name__ == "__main__":
    sys.exit(main())
