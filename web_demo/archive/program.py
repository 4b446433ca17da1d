"""What the two programs over archives have in common: their command lines, where the work is done, and how they end."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Collection
from pathlib import Path

from web_demo.archive.listing import Listing, listed
from web_demo.archive.run import OutputLost, Run, told
from web_demo.archive.runners.base import Runner
from web_demo.archive.runners.local import LocalRunner
from web_demo.archive.stages import Stages
from web_demo.errors import InvalidRequest, ServiceError, SetupError
from web_demo.server.common.settings import configure_logging

OK, SOME_FAILED, LOST, WRONG, STOPPED = 0, 1, 3, 2, 130


def parser(description: str | None, kind: str, engines: Collection[str]) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument(
        "sources", nargs="+", metavar="IN", help=f"{kind}: files, folders, globs, manifests, or fsspec URLs of them"
    )
    made.add_argument("output", metavar="OUT", help="folder, or fsspec URL of one; a second run goes on there")
    made.add_argument("--engine", choices=("auto", *engines), default="auto")
    made.add_argument("--model-path", type=Path, help="weights; on a cluster at the same path on each node")
    made.add_argument("--device", default="auto", help="cuda:0, cpu, … (default: the first GPU, else the CPU)")
    made.add_argument(
        "--gpus", default="", metavar="0,1", help="without Ray: the GPUs to use, by number, a worker each"
    )
    made.add_argument("--base-url", default="", help="openai engine: its server")
    made.add_argument("--remote-model", help="openai engine: model at --base-url")
    made.add_argument(
        "--address",
        default="",
        help="Ray: auto, ray://host:10001, host:6379, or local for one on this machine (default: without Ray)",
    )
    made.add_argument("--workers", type=int, default=0, help="engines at once (default: one a GPU, else one a core)")
    made.add_argument("--retry-failed", action="store_true", help="those that failed in an earlier run, too")
    made.add_argument("--quiet", action="store_true", help="no progress bar")
    made.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="warning")
    return made


def main_of(
    args: argparse.Namespace, make: Callable[[], Stages], suffixes: Collection[str], kind: str, rows: bool
) -> int:
    """Runs what a command line asks for, and says how it went. Returns the exit status: 0 all is done, 1 some entries failed,
    2 it cannot be done as asked, 3 the output is full or gone, or the engines are, 130 stopped by Ctrl-C."""
    configure_logging(args.log_level)
    try:
        stages = make()
        listing = listed(args.sources, suffixes, rows_have_place=rows)
        return asyncio.run(_over(args, stages, listing, kind))
    except (SetupError, InvalidRequest) as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG
    except ServiceError as error:  # of all work, not of one entry
        print(f"error: {error}. What is done is done: the same command goes on with the rest", file=sys.stderr)
        return LOST
    except OutputLost as error:
        print(f"error: {error}. What is done is done: the same command goes on when there is room", file=sys.stderr)
        return LOST
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("ended. What was written stays: the same command goes on with the rest", file=sys.stderr)
        return STOPPED


async def _over(args: argparse.Namespace, stages: Stages, listing: Listing, kind: str) -> int:
    run = Run(stages, args.output, retry_failed=args.retry_failed, quiet=args.quiet)
    with run.locked():
        tasks, before = run.missing(listing)
        if listing.passed_over:
            print(f"{listing.passed_over} files in folders are passed over: by their names no {kind}", file=sys.stderr)
        if not tasks and not listing.unread:
            print(f"nothing to do: {before} of {len(listing.entries)} {kind} were there before", file=sys.stderr)
            return OK
        runner = _runner(args, stages)
        async with runner:
            print(f"{len(tasks)} {kind} by {stages.made_by['engine']} on {runner.place}", file=sys.stderr)
            summary = await run.over(listing, runner, tasks, before)
    print(told(summary, args.output, kind), file=sys.stderr)
    if summary.left:
        return STOPPED
    return SOME_FAILED if summary.failed else OK


def _runner(args: argparse.Namespace, stages: Stages) -> Runner:
    if args.workers < 0:
        raise SetupError(f"--workers must be at least 1, got {args.workers}")
    if args.address:
        try:
            from web_demo.archive.runners.cluster import RayRunner
        except ModuleNotFoundError as error:
            raise SetupError(
                f"--address needs the Python package {error.name!r}: pip install -r requirements-archive.txt"
            ) from error
        return RayRunner(stages, args.address, args.workers)
    return LocalRunner(stages, devices(args.gpus, args.workers, stages))


def devices(gpus: str, workers: int, stages: Stages) -> list[str]:
    """One for each worker on this machine."""
    if gpus:
        numbers = gpus.split(",")
        if not all(number.strip().isdigit() for number in numbers):
            raise SetupError(f"--gpus must be numbers such as 0,1, got {gpus!r}")
        named = [f"cuda:{number.strip()}" for number in numbers]
        return [named[at % len(named)] for at in range(workers or len(named))]
    return [""] * (workers or (1 if stages.uses_gpu or stages.is_remote else os.cpu_count() or 1))
