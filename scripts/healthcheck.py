#!/usr/bin/env python3
"""Ask a service's /health, for containers. Status 0 when it is healthy; with --alive when it answers at all.

Readiness is "healthy": a service that loads, drains or has lost a part gets no new work. Liveness is "answers": one that is
only loading or draining must not be restarted. Needs the standard library alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.operations import probe


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="such as http://127.0.0.1:8002")
    parser.add_argument("--alive", action="store_true", help="any answer will do")
    args = parser.parse_args(argv)
    health = probe.health(args.url.rstrip("/"))
    print(f"{health.status}: {health.reason}" if health.reason else health.status)
    return 0 if health.status == "healthy" or (args.alive and health.status != "silent") else 1


if __name__ == "__main__":
    raise SystemExit(main())
