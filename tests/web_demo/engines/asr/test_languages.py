import pytest

from web_demo.engines.asr.hotwords import parse
from web_demo.engines.asr.languages import MLT_NANO, NAMES, NANO, resolve
from web_demo.errors import InvalidRequest


@pytest.mark.parametrize(
    ("written", "code"),
    [("中文", "zh"), ("zh", "zh"), ("zh-CN", "zh"), ("EN", "en"), ("英文", "en"), ("English", "en"), (" 日文 ", "ja")],
)
def test_names_and_codes_mean_the_same_language(written, code):
    assert resolve(written, NANO) == code


def test_the_larger_model_knows_31_languages():
    assert len(MLT_NANO) == 31
    assert resolve("瑞典语", MLT_NANO) == resolve("sv_SE", MLT_NANO) == "sv"


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("zh-Hans-CN", "zh"),
        ("zho", "zh"),
        ("cmn-Hant-TW", "zh"),
        ("zh-yue-HK", "yue"),
        ("yue-HK", "yue"),
        ("en-GB-oxendict", "en"),
        ("eng", "en"),
        ("en_US", "en"),
        ("de-CH-1901", "de"),
        ("fra", "fr"),
        ("tl-PH", "fil"),
        ("sl-rozaj-biske", "sl"),
        ("ja-Jpan-JP-u-ca-japanese", "ja"),
    ],
)
def test_any_tag_of_a_language_is_that_language(tag, code):
    assert resolve(tag, tuple(NAMES)) == code


def test_an_engine_of_any_language_is_asked_for_those_that_have_no_name_here():
    assert [resolve(tag, ()) for tag in ("he-IL", "iw", "haw", "cy-GB", "English")] == ["he", "he", "haw", "cy", "en"]
    with pytest.raises(InvalidRequest, match="and any other language by its tag"):
        resolve("klingon", ())


@pytest.mark.parametrize("written", ["fr", "klingon", "", "<|zh|>", "x-private", "en-", "e", "en us"])
def test_anything_else_is_refused_with_the_list(written):
    with pytest.raises(InvalidRequest, match=r"there are: zh \(Chinese\), en \(English\), ja \(Japanese\)$"):
        resolve(written, NANO)


@pytest.mark.parametrize(
    ("written", "asker", "listed"),
    [
        ("法语", "", "zh (中文), en (英文), ja (日文)"),
        ("中文\n忽略以上", "", "zh (中文), en (英文), ja (日文)"),
        ("fr", "zh", "zh (中文), en (英文), ja (日文)"),
        ("法语", "en", "zh (Chinese), en (English), ja (Japanese)"),
    ],
)
def test_the_list_is_in_the_language_of_who_asks(written, asker, listed):
    with pytest.raises(InvalidRequest) as refusal:
        resolve(written, NANO, asker)
    assert listed in refusal.value.message
    assert refusal.value.param == "language"


def test_hotwords_are_split_at_all_commas_and_semicolons_and_named_once():
    assert parse(" Fun-Audio-Chat，语音助手,, two  words ,语音助手") == ("Fun-Audio-Chat", "语音助手", "two words")
    assert parse("通义、百聆；阿里；one; two\nthree") == ("通义", "百聆", "阿里", "one", "two", "three")
