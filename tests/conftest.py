"""Fixtures for all tests."""

import asyncio
import os
import shutil

import pytest

# Triton decides at its import whether kernels are interpreted, which is the only way to run them without a GPU.
if shutil.which("nvidia-smi") is None:
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(autouse=True)
async def _no_task_is_left_behind():
    """Whatever a test started has ended with it: a leaked task is a leaked session, engine step or process."""
    before = asyncio.all_tasks()
    yield
    await asyncio.sleep(0)
    left = [task for task in asyncio.all_tasks() - before if task is not asyncio.current_task() and not task.done()]
    assert not left, f"tasks left behind: {[task.get_name() for task in left]}"
