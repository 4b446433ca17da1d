"""Names and codes of languages: what a user may write, what an engine is told."""

from __future__ import annotations

from collections.abc import Sequence

from web_demo.errors import InvalidRequest

# ISO 639 code -> (Chinese name, as the Fun-ASR models are told it; English name)
NAMES: dict[str, tuple[str, str]] = {
    "zh": ("中文", "chinese"),
    "en": ("英文", "english"),
    "ja": ("日文", "japanese"),
    "yue": ("粤语", "cantonese"),
    "ko": ("韩文", "korean"),
    "vi": ("越南语", "vietnamese"),
    "id": ("印尼语", "indonesian"),
    "th": ("泰语", "thai"),
    "ms": ("马来语", "malay"),
    "fil": ("菲律宾语", "filipino"),
    "ar": ("阿拉伯语", "arabic"),
    "hi": ("印地语", "hindi"),
    "bg": ("保加利亚语", "bulgarian"),
    "hr": ("克罗地亚语", "croatian"),
    "cs": ("捷克语", "czech"),
    "da": ("丹麦语", "danish"),
    "nl": ("荷兰语", "dutch"),
    "et": ("爱沙尼亚语", "estonian"),
    "fi": ("芬兰语", "finnish"),
    "el": ("希腊语", "greek"),
    "hu": ("匈牙利语", "hungarian"),
    "ga": ("爱尔兰语", "irish"),
    "lv": ("拉脱维亚语", "latvian"),
    "lt": ("立陶宛语", "lithuanian"),
    "mt": ("马耳他语", "maltese"),
    "pl": ("波兰语", "polish"),
    "pt": ("葡萄牙语", "portuguese"),
    "ro": ("罗马尼亚语", "romanian"),
    "sk": ("斯洛伐克语", "slovak"),
    "sl": ("斯洛文尼亚语", "slovenian"),
    "sv": ("瑞典语", "swedish"),
    "fr": ("法语", "french"),
    "de": ("德语", "german"),
    "es": ("西班牙语", "spanish"),
    "it": ("意大利语", "italian"),
    "ru": ("俄语", "russian"),
    "tr": ("土耳其语", "turkish"),
    "uk": ("乌克兰语", "ukrainian"),
}

_OTHER_NAMES = {
    "汉语": "zh", "普通话": "zh", "国语": "zh", "mandarin": "zh", "cmn": "zh", "英语": "en", "日语": "ja",
    "韩语": "ko", "广东话": "yue", "tl": "fil", "tagalog": "fil",
}  # fmt: skip
_CODES = {
    **{name: code for code, names in NAMES.items() for name in names},
    **_OTHER_NAMES,
}
NANO = ("zh", "en", "ja")  # what Fun-ASR-Nano-2512 was trained on
MLT_NANO = tuple(NAMES)[:31]  # what Fun-ASR-MLT-Nano-2512 was trained on


def code_of(language: str) -> str | None:
    """The ISO 639 code of a name or code such as "中文", "English", "zh-CN", "EN"; None for anything else."""
    wanted = language.strip().lower()
    if wanted in _CODES:
        return _CODES[wanted]
    primary = wanted.replace("_", "-").partition("-")[0]
    primary = _OTHER_NAMES.get(primary, primary)
    return primary if primary in NAMES else None


def language_name(code: str, language: str) -> str:
    """The name of `code` in Chinese ("zh") or English (anything else); the code itself where it is not known."""
    chinese, english = NAMES.get(code, (code, code))
    return chinese if language == "zh" else english.capitalize()


def resolve(language: str, available: Sequence[str]) -> str:
    """The code of `language`, which must be one of the codes in `available` (empty: any known one)."""
    code = code_of(language)
    if code is None or (available and code not in available):
        known = ", ".join(f"{name} ({NAMES[name][0]})" for name in (available or NAMES))
        raise InvalidRequest(f"language {language[:40]!r} is not available here; there are: {known}")
    return code
