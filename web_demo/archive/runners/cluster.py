"""The stages on Ray Data: split in tasks, engines in an actor pool, what comes of it streamed back to where the run was started.

A block is one batch, so that a batch goes on as soon as it is found, however long its recording is. A task, an actor or a node that
dies is run again by Ray (https://docs.ray.io/en/latest/data/data-internals.html), which may bring results a second time; a process
of an engine that dies inside its actor is started again by the actor, as on one machine.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import os
import pickle
import threading
from collections.abc import AsyncGenerator, Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
import ray.data
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from web_demo.archive.runners.base import READY_S, Hand, LoopThread
from web_demo.archive.stages import Batch, Batches, Outcome, Splitter, Stages, Task
from web_demo.errors import SetupError

ROOT = Path(__file__).resolve().parents[3]
LOCAL = "local"  # the address of a Ray that is started on this machine, and ended
LEFT_BEHIND = (".*", "node_modules", "/pretrained_models", "/run", "/logs", "/tests", "/third_party", "/deploy")
KEYS = ("ASR_API_KEY", "TTS_API_KEY")  # of servers elsewhere that engines ask
SPLIT_CPUS = 0.2  # of a task: decoders do their work in processes of their own, and wait for engines most of the time
WORK_CPUS = 0.8
AHEAD = 4  # lists of outcomes that wait for this process


class RayRunner:
    """`workers` 0: one a GPU of the cluster, else one a core."""

    def __init__(self, stages: Stages, address: str, workers: int) -> None:
        self._stages = stages
        self._address = address
        self._workers = workers
        self._gpus = 0
        self._stop: Any = None

    @property
    def place(self) -> str:
        return f"Ray at {self._address}, {self._workers} worker{'s' if self._workers > 1 else ''}"

    async def __aenter__(self) -> RayRunner:
        try:
            await asyncio.to_thread(self._join)
        except (ConnectionError, TimeoutError, RuntimeError, ValueError) as error:
            raise SetupError(f"Ray at {self._address} cannot be used: {error}") from error
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(ray.shutdown)

    def _join(self) -> None:
        variables = {name: value for name in KEYS if (value := os.environ.get(name))} | {"RAY_USE_UVLOOP": "0"}
        if self._address == LOCAL:
            environment: dict[str, Any] = {"env_vars": variables | {"PYTHONPATH": str(ROOT)}}
        else:  # each node gets this checkout; packages and weights it has to have
            environment = {"working_dir": str(ROOT), "excludes": list(LEFT_BEHIND), "env_vars": variables}
        ray.init(
            address=self._address,
            runtime_env=environment,
            include_dashboard=False if self._address == LOCAL else None,
            log_to_driver=False,
            logging_level="ERROR",
        )
        there = ray.cluster_resources()
        gpus = int(there.get("GPU", 0)) if self._stages.uses_gpu else 0
        self._gpus = 1 if gpus else 0
        self._workers = self._workers or (1 if self._stages.is_remote else gpus or int(there.get("CPU", 1)))
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)  # dies with the run
        self._stop = ray.remote(num_cpus=0, scheduling_strategy=here)(_Stop).remote()

    def stop(self) -> None:
        self._stop.set.remote()

    async def outcomes(self, groups: Sequence[tuple[Task, ...]]) -> AsyncGenerator[Sequence[Outcome], None]:
        loop = asyncio.get_running_loop()
        made: asyncio.Queue[Sequence[Outcome] | BaseException | None] = asyncio.Queue(AHEAD)
        over = threading.Event()

        def put(item: Sequence[Outcome] | BaseException | None) -> None:
            asyncio.run_coroutine_threadsafe(made.put(item), loop).result()

        def pump() -> None:
            try:
                for outcomes in self._rows(groups):
                    if over.is_set():
                        return
                    put(outcomes)
                put(None)
            except BaseException as error:  # noqa: BLE001 - raised by whoever waits for outcomes
                if not over.is_set():
                    put(error)

        threading.Thread(target=pump, name="ray-data", daemon=True).start()
        try:
            while (item := await made.get()) is not None:
                if isinstance(item, ray.exceptions.RayError):
                    raise SetupError(f"Ray at {self._address} cannot go on: {item}") from item
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            over.set()
            while not made.empty():
                made.get_nowait()

    def _rows(self, groups: Sequence[tuple[Task, ...]]) -> Iterator[Sequence[Outcome]]:
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.target_max_block_size = 1  # a block ends with each batch
        context.wait_for_min_actors_s = int(READY_S)
        stages = pickle.dumps(self._stages)
        rows = [{"group": pickle.dumps(group)} for group in groups]
        data = (
            ray.data.from_items(rows, override_num_blocks=len(rows))
            .map_batches(
                _split, fn_args=(stages, self._stop), batch_size=None, batch_format="numpy", num_cpus=SPLIT_CPUS
            )
            .map_batches(
                _Work,
                fn_constructor_args=(stages,),
                batch_size=None,
                batch_format="numpy",
                num_cpus=WORK_CPUS,
                num_gpus=self._gpus,
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=self._workers, initial_size=self._workers),
            )
        )
        for row in data.iter_rows():
            yield pickle.loads(row["made"])  # noqa: S301 - from our own workers


class _Stop:
    """Whether entries that were not begun are still wanted."""

    def __init__(self) -> None:
        self._asked = False

    def set(self) -> None:
        self._asked = True

    def asked(self) -> bool:
        return self._asked


def _split(groups: dict[str, Any], stages: bytes, stop: Any) -> Iterator[dict[str, list[bytes]]]:
    loop, splitter, batch_s = _splitter(stages)
    for packed in groups["group"]:
        group: tuple[Task, ...] = pickle.loads(packed)  # noqa: S301 - from our own driver
        wanted = itertools.takewhile(lambda _: not _asked(stop), group)
        batches = Batches(batch_s)
        for item in loop.each(splitter.split(wanted)):
            yield from map(_block, batches.add(item))
        yield from map(_block, batches.end())


def _block(batch: Batch) -> dict[str, list[bytes]]:
    return {"batch": [pickle.dumps(batch)]}


def _asked(stop: Any) -> bool:
    try:
        return bool(ray.get(stop.asked.remote()))
    except ray.exceptions.RayActorError:  # the run is going under, or its connection is: nobody asked
        return False


@functools.cache
def _splitter(stages: bytes) -> tuple[LoopThread, Splitter, float]:
    """One in each process of Ray, which runs one task after the other."""
    made: Stages = pickle.loads(stages)  # noqa: S301 - from our own driver
    return LoopThread(), made.splitter(), made.batch_s


class _Work:
    """An actor: one engine, in a supervised process of its own."""

    def __init__(self, stages: bytes) -> None:
        self._loop = LoopThread()
        self._hand = self._loop.run(self._hired(stages))

    @staticmethod
    async def _hired(stages: bytes) -> Hand:
        hand = Hand(pickle.loads(stages))  # noqa: S301 - from our own driver
        await hand.start()
        return hand

    def __call__(self, batches: dict[str, Any]) -> dict[str, list[bytes]]:
        return {"made": [self._made(packed) for packed in batches["batch"]]}

    def _made(self, packed: bytes) -> bytes:
        return pickle.dumps(self._loop.run(self._hand.outcomes(pickle.loads(packed))))  # noqa: S301 - from _split
