"""What would make this machine understand and speak better: said in `/health`, on the page and at the start, in the languages of
its users. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from web_demo.engines.onnx_models import DOWNLOAD

Advice = Mapping[str, str]  # language -> what to do; empty where there is nothing to say

RECOGNISER: Advice = {
    "en": "The recogniser understands English only, and much of it wrongly. For Chinese, Cantonese, English, Japanese and Korean, "
    f"without a GPU: {DOWNLOAD}, then start again.",
    "zh": "现在的识别器只听得懂英语，而且常常听错。想让它听懂普通话、粤语、英语、日语和韩语（不需要显卡），"
    f"请运行 {DOWNLOAD}，再重新启动。",
}
VOICE: Advice = {
    "en": f"The voice is a simple one. For a natural one in Chinese and English, without a GPU: {DOWNLOAD}, then start again.",
    "zh": f"现在的声音比较机械。想要自然的中英文声音（不需要显卡），请运行 {DOWNLOAD}，再重新启动。",
}
RECOGNISER_AND_VOICE: Advice = {
    "en": "The recogniser understands English only, and much of it wrongly; the voice is a simple one. For Chinese, Cantonese, "
    f"English, Japanese and Korean and a natural voice, without a GPU: {DOWNLOAD}, then start again.",
    "zh": "现在的识别器只听得懂英语，而且常常听错，声音也比较机械。想让它听懂普通话、粤语、英语、日语和韩语，"
    f"并用自然的声音说话（不需要显卡），请运行 {DOWNLOAD}，再重新启动。",
}
MIND: Advice = {
    "en": "It answers a few questions only. With --llm-base-url a language model answers.",
    "zh": "它只会回答几个简单的问题。加上 --llm-base-url，就由语言模型来回答。",
}


def joined(*advices: Advice) -> Advice:
    """All of them, one behind the other."""
    languages = dict.fromkeys(language for advice in advices for language in advice)
    space = {"zh": ""}
    return {
        language: space.get(language, " ").join(advice[language] for advice in advices if language in advice)
        for language in languages
    }


def of_conversation(recogniser: Advice, voice: Advice, mind: Advice) -> Advice:
    """Of its parts, the same command told once."""
    if recogniser == RECOGNISER and voice == VOICE:
        return joined(RECOGNISER_AND_VOICE, mind)
    return joined(recogniser, voice, mind)
