#!/usr/bin/env python3
"""Ask a service's /health, for containers. Status 0 when it is healthy; with --alive also while it loads.

Readiness is "healthy": a service that loads or has lost a part gets no new work. Liveness is "healthy or loading": one that
stays unhealthy, as with a lost GPU, needs a restart. Be patient before that: the S2S service is unhealthy while it starts
its detokenizer again. Needs the standard library alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from scripts.operations import probe


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="such as http://127.0.0.1:8002")
    parser.add_argument("--alive", action="store_true", help="loading will do")
    args = parser.parse_args(argv)
    health = probe.health(args.url.rstrip("/"))
    print(f"{health.status}: {health.reason}" if health.reason else health.status)
    return 0 if health.status == "healthy" or (args.alive and health.status == "loading") else 1


if __name__ == "__main__":
    raise SystemExit(main())
