"""Written numbers, dates, units and amounts as words, in Chinese and English, for engines that speak words only.

By wetext (https://github.com/pengzhendong/wetext, Apache-2.0), which runs the grammars of WeTextProcessing. Japanese and
Korean text stays as it is.
"""

from __future__ import annotations

import functools
import re
import threading
from typing import TYPE_CHECKING

from web_demo.errors import SetupError
from web_demo.text.scripts import Script, script_runs

if TYPE_CHECKING:
    from wetext import Normalizer

_DIGIT = re.compile(r"\d")
_lock = threading.Lock()  # its transducers are not documented as thread-safe


def normalize(text: str) -> str:
    """`text` as it is spoken; some milliseconds a sentence. Raises SetupError where wetext is not installed."""
    if not _DIGIT.search(text):
        return text
    scripts = {script for script, _ in script_runs(text)}
    if Script.KANA in scripts or Script.HANGUL in scripts:
        return text
    language = "zh" if Script.HAN in scripts or Script.OTHER not in scripts else "en"
    with _lock:
        return str(_normalizer(language).normalize(text))


@functools.cache
def _normalizer(language: str) -> Normalizer:
    try:
        from wetext import Normalizer
    except ImportError as error:
        raise SetupError("numbers in text need the package wetext: pip install -r requirements-models.txt") from error
    return Normalizer(lang=language, operator="tn")
