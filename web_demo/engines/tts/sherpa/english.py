"""How English words are pronounced, for models whose lexicon has none: the CMU dictionary (http://www.speech.cs.cmu.edu/cgi-bin/cmudict,
BSD) that comes with pocketsphinx, in the phonetic signs that these models were trained on. Pure but for reading the files.

The library leaves out words that no lexicon has, without a word about it: those are spelled here, letter by letter.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

# ARPAbet as IPA, diphthongs and affricates by the single letters that Kokoro's and Matcha's front ends write.
PHONES = {
    "AA": "ɑ", "AE": "æ", "AH": "ʌ", "AO": "ɔ", "AW": "W", "AY": "I", "B": "b", "CH": "ʧ", "D": "d", "DH": "ð", "EH": "ɛ",
    "ER": "ɜɹ", "EY": "A", "F": "f", "G": "ɡ", "HH": "h", "IH": "ɪ", "IY": "i", "JH": "ʤ", "K": "k", "L": "l", "M": "m", "N": "n",
    "NG": "ŋ", "OW": "O", "OY": "Y", "P": "p", "R": "ɹ", "S": "s", "SH": "ʃ", "T": "t", "TH": "θ", "UH": "ʊ", "UW": "u", "V": "v",
    "W": "w", "Y": "j", "Z": "z", "ZH": "ʒ",
}  # fmt: skip

_WORD = re.compile(r"[A-Za-z]+(?:['’][A-Za-z]+)*")
_ALTERNATIVE = re.compile(r"\(\d+\)$")


def dictionary() -> Path | None:
    """The file in pocketsphinx's wheel, or None where that is not installed."""
    package = importlib.util.find_spec("pocketsphinx")
    if package is None or package.origin is None:
        return None
    path = Path(package.origin).parent / "model" / "en-us" / "cmudict-en-us.dict"
    return path if path.is_file() else None


def entries(lines: Iterable[str]) -> Iterator[str]:
    """The dictionary's lines as those of a lexicon ("word p h o n e s"), the first pronunciation of each word."""
    for line in lines:
        word, *phones = line.split()
        if not phones or _ALTERNATIVE.search(word) or any(phone not in PHONES for phone in phones):
            continue
        signs = " ".join(sign for phone in phones for sign in PHONES[phone])
        yield f"{word} {signs}\n"


def words_in(lines: Iterable[str]) -> Iterator[str]:
    """The words in Latin letters that a lexicon has."""
    for line in lines:
        word = line.split(maxsplit=1)[0].lower() if line.strip() else ""
        if word and word.isascii():
            yield word


def speakable(text: str, known: frozenset[str]) -> str:
    """With words that no lexicon has spelled."""

    def spelled(match: re.Match[str]) -> str:
        word = match[0].replace("’", "'")
        if word.lower() in known:
            return word
        return " ".join(letter for letter in word if letter != "'")

    return _WORD.sub(spelled, text)
