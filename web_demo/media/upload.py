"""A file from a stranger while it is on its way to the decoder: its bytes lie outside of the service's own memory, in a file
without a name."""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile


class Upload:
    """Filled by `write`, then read once, by a decoder. On Linux it is memory of the system's (a memfd) and never touches a
    disk; elsewhere it is an unlinked temporary file. `close` gives it back, at any time and more than once."""

    def __init__(self) -> None:
        self._fd: int | None = _anonymous_file()
        self.size = 0

    @classmethod
    def of(cls, data: bytes | bytearray) -> Upload:
        upload = cls()
        upload.write(data)
        return upload

    def __len__(self) -> int:
        return self.size

    def write(self, data: bytes | bytearray) -> None:
        """A copy in memory, where there is a memfd: quick enough for an event loop."""
        view = memoryview(data)
        while view:
            written = os.write(self._open(), view)
            self.size += written
            view = view[written:]

    def fileno(self) -> int:
        """For a child process: unchangeable where the system can promise it. No more `write`s."""
        fd = self._open()
        if sys.platform == "linux":
            fcntl.fcntl(
                fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
            )
        return fd

    def close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def _open(self) -> int:
        if self._fd is None:
            raise ValueError("the upload is closed")
        return self._fd


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("upload", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
