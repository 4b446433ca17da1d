"""How often a text front end says a written text as people read it, by kind and language.

    python3 scripts/benchmarks/said.py [--front-end own|plain|wetext|nemo|num2words] [--cases FILE] [--wrong]

The cases are texts with all the ways to read them that count as right (tests/data/spoken.json). Compared are words alone:
case, punctuation, hyphens and spaces between Chinese characters do not count, nor the "and" of English numbers, nor which of
two words for one thing is used (`_SAME`). What a front end raises counts as wrong, and as raised. The candidates are no
dependencies of ours: install them for a measurement in an environment of their own (`wetext==0.1.8`,
`nemo_text_processing==1.2.0`, `num2words==0.5.14`).
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.benchmarks.report import Report

CASES = Path(__file__).resolve().parents[2] / "tests" / "data" / "spoken.json"

Say = Callable[[str], str]
_SAME = {
    "千克": "公斤", "千米": "公里", "幺": "一", "两": "二", "至": "到", "~": "到", "摄氏度": "度", "百分之一百": "百分之百",
}  # fmt: skip


def canonical(text: str, language: str) -> str:
    """Words alone, in one of the ways to write them."""
    text = text.lower()
    if language == "zh":
        for word, same in _SAME.items():
            text = text.replace(word, same)
        return re.sub(r"[\W_]+", "", text)
    text = re.sub(r"\b([ap])[. ]?m\b\.?", r"\1m", text.replace("'", ""))
    return " ".join(word for word in re.sub(r"[\W_]+", " ", text).split() if word != "and")


def is_right(said: str, case: Mapping[str, Any]) -> bool:
    return canonical(said, case["language"]) in {canonical(way, case["language"]) for way in case["spoken"]}


def own() -> Mapping[str, Say]:
    from web_demo.text.frontend import words

    return {language: lambda text, of=language: words(text, language=of).text for language in ("en", "zh")}  # type: ignore[misc]


def plain() -> Mapping[str, Say]:
    """As they are: how much of the cases asks for nothing."""
    return {"en": str, "zh": str}


def wetext() -> Mapping[str, Say]:
    from wetext import Normalizer  # type: ignore[import-not-found, import-untyped, unused-ignore]

    return {language: Normalizer(lang=language, operator="tn").normalize for language in ("en", "zh")}


def nemo() -> Mapping[str, Say]:
    from nemo_text_processing.text_normalization.normalize import Normalizer  # type: ignore[import-not-found, import-untyped, unused-ignore]

    return {language: Normalizer(input_case="cased", lang=language).normalize for language in ("en", "zh")}


def num2words() -> Mapping[str, Say]:
    """It knows numbers and no texts: every number in the text is its cardinal."""
    from num2words import num2words as cardinal  # type: ignore[import-not-found, import-untyped, unused-ignore]

    def say(text: str, language: str) -> str:
        return re.sub(r"\d+(?:\.\d+)?", lambda match: f" {cardinal(match[0], lang=language)} ", text)

    return {"en": lambda text: say(text, "en"), "zh": lambda text: say(text, "zh_CN")}


FRONT_ENDS: Mapping[str, Callable[[], Mapping[str, Say]]] = {
    "own": own,
    "plain": plain,
    "wetext": wetext,
    "nemo": nemo,
    "num2words": num2words,
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--front-end", choices=FRONT_ENDS, default="own")
    parser.add_argument("--cases", type=Path, default=CASES)
    parser.add_argument("--wrong", action="store_true", help="print what was wrong")
    options = parser.parse_args(arguments)
    cases = json.loads(options.cases.read_text("utf-8"))
    report = Report("said", front_end=options.front_end, cases=len(cases))
    began = time.perf_counter()
    front_end = FRONT_ENDS[options.front_end]()
    report.note(load_s=round(time.perf_counter() - began, 3))
    counts: dict[str, Counter[str]] = {"en": Counter(), "zh": Counter()}
    wrong: dict[str, Counter[str]] = {"en": Counter(), "zh": Counter()}
    raised: Counter[str] = Counter()
    began = time.perf_counter()
    for case in cases:
        language = case["language"]
        counts[language][case["kind"]] += 1
        try:
            said = front_end[language](case["text"])
        except Exception as error:  # noqa: BLE001 - that it raises is a result
            said, raised[language] = f"{type(error).__name__}: {error}", raised[language] + 1
        if not is_right(said, case):
            wrong[language][case["kind"]] += 1
            if options.wrong:
                print(f"{language} {case['kind']}: {case['text']!r} -> {said!r}, not {case['spoken'][0]!r}")
    seconds = time.perf_counter() - began
    for kind in dict.fromkeys(case["kind"] for case in cases):
        figures: dict[str, int] = {}
        for language in counts:
            figures |= {f"{language}_cases": counts[language][kind], f"{language}_wrong": wrong[language][kind]}
        report.row(kind=kind, **figures)
    for language in counts:
        total, bad = counts[language].total(), wrong[language].total()
        percent = round(100 * bad / total, 1)
        report.row("languages", language=language, cases=total, wrong=bad, percent=percent, raised=raised[language])
    report.note(ms_a_text=round(1000 * seconds / len(cases), 3))
    report.end()


if __name__ == "__main__":
    main()
