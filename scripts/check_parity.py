#!/usr/bin/env python3
"""Compare a model's code with golden tensors recorded from its reference implementation.

    python3 scripts/check_parity.py funaudiochat GOLDEN_DIR [--device cuda:0]
    python3 scripts/check_parity.py cosyvoice3 GOLDEN_DIR

Prints one line a case with its largest differences, then one line of JSON; exits 0 when every case passed, 1 when one
did not, 2 when the directory cannot be read as golden data.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from scripts.operations import console
from web_demo.errors import SetupError

if TYPE_CHECKING:
    from web_demo.models.parity import CaseResult, Check

MODELS = ("funaudiochat", "cosyvoice3")


def line(result: CaseResult) -> str:
    largest = sorted(result.differences.items(), key=lambda item: -item[1])[:4]
    shown = "  ".join(f"{name} {value:.1e}" for name, value in largest)
    outcome = "ok  " if result.passed else "FAIL"
    return f"{outcome} {result.name:<40} {shown}" + "".join(f"\n       {problem}" for problem in result.problems)


@console.program
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("golden", type=Path, metavar="GOLDEN_DIR")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args(argv)
    if not args.golden.is_dir():
        print(f"check_parity: {args.golden} is not a directory", file=sys.stderr)
        return 2
    check = cast("Check", importlib.import_module(f"web_demo.models.{args.model}.parity").check)
    cases = failed = 0
    worst: dict[str, float] = {}
    try:
        for result in check(args.golden, device=args.device):
            cases += 1
            failed += not result.passed
            for name, value in result.differences.items():
                worst[name] = max(value, worst.get(name, 0.0))
            print(line(result), flush=True)
    except (OSError, KeyError, json.JSONDecodeError, SetupError) as error:
        print(f"check_parity: {args.golden} cannot be read as golden data of {args.model}: {error!r}", file=sys.stderr)
        return 2
    if not cases:
        print(f"check_parity: no case of {args.model} in {args.golden}", file=sys.stderr)
        return 2
    print(json.dumps({"model": args.model, "cases": cases, "failed": failed, "worst": worst}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
