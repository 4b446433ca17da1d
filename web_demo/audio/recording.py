"""The sound of a live stream that is kept."""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from web_demo.audio.samples import Samples, from_int16, to_int16


class Recording:
    """The end of a live stream, as much of it as is wanted: float32 in and out, 16 bit inside."""

    def __init__(self, start: int = 0) -> None:
        self.start = start  # position in the stream of the first sample that is kept
        self._chunks: deque[npt.NDArray[np.int16]] = deque()
        self._samples = 0

    def __len__(self) -> int:
        return self._samples

    def append(self, samples: Samples) -> None:
        if len(samples):
            self._chunks.append(to_int16(samples))
            self._samples += len(samples)

    def prepend(self, samples: Samples) -> None:
        """What came before all that is kept."""
        if len(samples):
            self._chunks.appendleft(to_int16(samples))
            self._samples += len(samples)
            self.start -= len(samples)

    def keep_last(self, samples: int) -> None:
        """Forget all but the last `samples`."""
        surplus = max(self._samples - samples, 0)
        self.start += surplus
        self._samples -= surplus
        while surplus:
            first = self._chunks.popleft()
            if len(first) > surplus:
                self._chunks.appendleft(first[surplus:])
            surplus -= min(surplus, len(first))

    def take(self, samples: int) -> Samples:
        """The oldest `samples`, or all where there are fewer: they are kept no longer."""
        taken = self.first(samples)
        self.keep_last(len(self) - len(taken))
        return taken

    def first(self, samples: int) -> Samples:
        """A copy of the oldest `samples`, or of all where there are fewer."""
        chunks: list[npt.NDArray[np.int16]] = []
        missing = samples
        for chunk in self._chunks:
            if missing <= 0:
                break
            chunks.append(chunk[:missing])
            missing -= len(chunks[-1])
        return from_int16(np.concatenate(chunks)) if chunks else np.zeros(0, np.float32)

    def last(self, samples: int) -> Samples:
        """A copy of the last `samples`, or of all where there are fewer."""
        chunks: list[npt.NDArray[np.int16]] = []
        missing = samples
        for chunk in reversed(self._chunks):
            if missing <= 0:
                break
            chunks.append(chunk[-missing:])
            missing -= len(chunks[-1])
        return from_int16(np.concatenate(chunks[::-1])) if chunks else np.zeros(0, np.float32)

    def samples(self) -> Samples:
        """A copy of all that is kept."""
        return from_int16(np.concatenate(self._chunks)) if self._chunks else np.zeros(0, np.float32)
