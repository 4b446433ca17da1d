"""The fused kernels compile for the GPUs that we name, here without one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="comes with CUDA builds of torch; for its compiler: requirements-dev.txt")

from tests.web_demo.models.runtime.kernels.compile_kernels import SHARED_MEMORY

pytestmark = [pytest.mark.long, pytest.mark.models]


@pytest.mark.parametrize("capability", SHARED_MEMORY)
def test_every_kernel_compiles_and_fits_into_shared_memory(capability: int, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    found = subprocess.run(
        [sys.executable, "-m", "tests.web_demo.models.runtime.kernels.compile_kernels", str(capability)],
        env=environment | {"TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.count("ok ") > 40
