"""In which language a text is. Pure.

The scripts tell Chinese, Japanese and Korean. Of languages in Latin letters, small words and special letters tell those
that are common from English; it is a hint for reading numbers, no identification.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from web_demo.text.scripts import Script, script_of

_WORD = re.compile(r"[^\W\d_]+")
_ENGLISH_WORDS = (
    "the and of to is was are were it its that for you he she we they with at this have has had be not but from or by my "
    "your his her our their what there will would can could do does did if about which when who how all more one two out up "
    "so than then them see him been into time just know good some after over think also back first well even because these "
    "give most costs a i an as on in no me us"
)
_ENGLISH = frozenset(_ENGLISH_WORDS.split())
_OTHERS = {
    "de": "ich und der das ist nicht sie ein eine mit auf den von zu wir habe hat sind für auch dem im es wie aber oder bei nach "
    "noch kann nur wird werden uhr",
    "fr": "le les des et est une je vous nous il elle pas que qui dans pour avec sur au aux du ce cette sont mais ou très plus ai "
    "à être fait j'ai",
    "es": "el los las y es una yo que en por con para no se su al del lo como más pero muy está tengo hay son este esta de "
    "cuesta tiene",
    "it": "il lo gli e è una io che di per con non si sono ha ho della del dei nel alla più ma come questo questa costa",
    "pt": "o os as e é uma eu que em por com para não se seu ao do da no na mais mas muito tem são este esta custa",
    "nl": "de het een en is van ik je niet op te dat zijn met voor maar ook wij heb hebben kost",
    "pl": "i w na z się nie jest to że do jak ale po mam są",
    "tr": "ve bir bu için ile da de çok ben var ne gibi",
    "sv": "och är en ett det jag inte på som med för av har till den",
    "vi": "và là của có không cho một người tôi được này",
    "id": "dan yang di ini itu dengan untuk tidak saya ada dari ke akan",
}  # fmt: skip
_OTHER_WORDS = {language: frozenset(words.split()) for language, words in _OTHERS.items()}
_LETTERS = {
    "de": "äöüß",
    "fr": "éèêëçàùîôœ",
    "es": "ñ¿¡áíóú",
    "it": "ìò",
    "pt": "ãõ",
    "pl": "łśżźćńę",
    "tr": "ğışİ",
    "sv": "å",
    "vi": "đơư",
}

_WITHOUT_LATIN = frozenset(("zh", "ja", "ko"))  # languages in which words in Latin letters are names and units
_OWN_WORD = re.compile(
    r"(?<![\w$.])[A-Za-zÀ-ɏ]{2,}(?![\d_])"
)  # no unit that touches its number, no code, no letter alone
_UNITS = frozenset(
    [
        "am",
        "pm",
        "usd",
        "us",
        "hk",
        "eur",
        "gbp",
        "cny",
        "rmb",
        "jpy",
        "no",
        "km",
        "kg",
        "cm",
        "mm",
        "ml",
        "mg",
        "gb",
        "mb",
        "tb",
        "hz",
        "khz",
        "mhz",
        "ghz",
        "kw",
        "kwh",
        "min",
        "hr",
    ]
)

NAMES = {  # what requests call languages, beside their codes
    "chinese": "zh", "mandarin": "zh", "中文": "zh", "汉语": "zh", "普通话": "zh", "cmn": "zh", "yue": "zh", "cantonese": "zh", "粤语": "zh",
    "english": "en", "英文": "en", "英语": "en", "japanese": "ja", "日语": "ja", "日文": "ja", "korean": "ko", "韩语": "ko", "韩文": "ko",
    "german": "de", "德语": "de", "french": "fr", "法语": "fr", "spanish": "es", "西班牙语": "es", "italian": "it", "意大利语": "it",
    "russian": "ru", "俄语": "ru", "portuguese": "pt", "葡萄牙语": "pt",
}  # fmt: skip


# ISO 639-1 (https://www.loc.gov/standards/iso639-2/), and those of three letters for which there are voices.
_CODES_LISTED = (
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en eo es et "
    "eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv ka kg ki kj kk kl "
    "km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj "
    "om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to "
    "tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu "
    "bpy ceb chr fil grc hak haw hyw jbo kaa kok lfn ltg mto nan nci nog pap piqd qdb quc qya shn sjn smj wuu xex"
)
_CODES = frozenset(_CODES_LISTED.split())


def language_code(name: str) -> str:
    """The ISO 639 code of `name`: a code, with or without a region ("zh-CN"), or a name such as "English" or 中文; "" for
    "", "auto" and what is none of these."""
    name = name.strip().lower()
    if name in NAMES:
        return NAMES[name]
    base = re.split("[-_]", name)[0]
    if base in NAMES:
        return NAMES[base]
    return base if base in _CODES else ""


def language_of(text: str, request: str = "", voice: str = "") -> str:
    """The code of the language in which the numbers of `text` are to be read, "" where nothing tells it. `request` and
    `voice`: the codes that those say, "" for none; they decide where the text does not, a request also over names and
    units in Latin letters."""
    hint = request or voice
    han = kana = hangul = other = 0
    for character in text:
        script = script_of(character)
        han += script is Script.HAN
        kana += script is Script.KANA
        hangul += script is Script.HANGUL
        other += script is Script.OTHER and not character.isascii() and not _is_latin(character)
    words = [word.lower() for word in _WORD.findall(text) if _is_latin(word[0])]
    if kana or hangul:
        if hint in ("ja", "ko"):
            return hint
        if (kana + hangul) * 4 > han:
            return "ja" if kana > hangul else "ko"
    if han:
        if hint == "ja":
            return "ja"
        small = sum(len(word) > 1 and word in _ENGLISH for word in words)
        return (
            "en" if small and 2 * small >= han else "zh"
        )  # Han as names in English, else Latin letters as names in Chinese
    if other > len(words):
        return hint if hint not in ("zh", "en") else ""
    if request in _WITHOUT_LATIN and not is_english_prose(text):
        return request
    if not request and not any(word not in _UNITS for word in (match.lower() for match in _OWN_WORD.findall(text))):
        return voice
    return _latin(words, text, hint) if words else hint


def is_english_prose(text: str) -> bool:
    """Whether `text` holds small words of English, which names and codes in other languages do not."""
    words = [word.lower() for word in _WORD.findall(text) if word.isascii()]
    return len(words) > 1 and any(len(word) > 1 and word in _ENGLISH for word in words)


def _latin(words: Sequence[str], text: str, hint: str) -> str:
    """Of a text in Latin letters: the language whose small words it has most of; English where none tells, unless the
    request or the voice says another one that is written so."""
    default = hint if hint and hint not in _WITHOUT_LATIN else "en"
    english = sum(word in _ENGLISH for word in words)
    lower = text.lower()
    found = {
        language: sum(word in known for word in words) + sum(letter in lower for letter in _LETTERS.get(language, ""))
        for language, known in _OTHER_WORDS.items()
    }
    best = max(found, key=lambda language: found[language])
    if default == "en":
        return best if found[best] >= 2 and found[best] > english else "en"
    return "en" if english > found.get(default, 0) + 1 else default


def _is_latin(character: str) -> bool:
    return character.isascii() or "\u00c0" <= character <= "\u024f" or "\u1e00" <= character <= "\u1eff"
