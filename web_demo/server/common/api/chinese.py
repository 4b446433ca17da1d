"""What the services say to users, in Chinese. Pure.

Messages are written in English where they arise, which knows nothing of who reads them. Here they are met on their way out, by
their wording, for a reader of Chinese. What is not in the table stays English: most of it is for programmers. A test holds that
each entry is said somewhere.
"""

from __future__ import annotations

import re

# English as it is written in the source, {} for what is filled in -> Chinese, {0}, {1}, … for the same, itself translated.
SAYINGS = {
    # recordings
    "the audio file is empty (0 bytes)": "音频文件是空的（0 字节）",
    "the file is no audio that can be read": "无法把这个文件当作音频读取",
    "the file holds no audio that can be decoded": "这个文件里没有可以解码的音频",
    "the {} file has no sound that can be decoded": "这个 {0} 文件里没有可以解码的声音",
    "send a recording as wav, mp3, flac, ogg, opus, m4a, mp4, webm, aac, wma, aiff, amr or another audio file":
    "请发送 wav、mp3、flac、ogg、opus、m4a、mp4、webm、aac、wma、aiff、amr 等格式的录音",
    "the file is damaged: {} missing, the first at {} s": "文件有损坏：缺失 {0}，第一处在 {1} 秒",
    "one place is": "一处",
    "{} places are": "{0} 处",
    "{} bytes behind byte {} are no audio that can be read": "第 {1} 字节之后有 {0} 字节不是可读取的音频",
    "the recording is silent: there is no sound in it at all": "录音是静音的：里面完全没有声音",
    "the file says that it lasts {} s, but only {} s are in it": "文件标明长 {0} 秒，实际只有 {1} 秒",
    "of {} audio tracks number {} was read": "共有 {0} 条音轨，读取了第 {1} 条",
    "{}: in number {}, the default, there is no sound": "{0}：默认的第 {1} 条没有声音",
    "the audio is longer than {} s, the most that is taken; send it in parts":
    "音频超过 {0} 秒的上限，请分段发送",
    "the sample rate is {} Hz; {} to {} are read": "采样率是 {0} Hz；可读取的是 {1} 到 {2}",
    "no speech was heard in {} s of sound": "{0} 秒的声音里没有听到人声",
    "{}: only the first {} s were used": "{0}：只使用了前 {1} 秒",
    "convert it to WAV or FLAC, or send another": "请转换成 WAV 或 FLAC，或换一个文件",
    "decoding the file gave nothing for {} s": "解码文件时 {0} 秒没有任何结果",
    "decoding the file takes more than {} MiB of memory": "解码这个文件需要超过 {0} MiB 内存",
    "decoding the file takes too much computing for its length": "相对于长度，解码这个文件的计算量过大",
    "the file broke the decoder": "这个文件使解码器出错",
    "the process that decoded the file is gone; please send it again": "解码这个文件的进程已退出，请重新发送",
    "files cannot be decoded now; please try again in a moment": "现在无法解码文件，请稍后再试",
    "the form has no audio; send the file in the field 'audio', as in curl -F audio=@a.wav":
    "表单里没有音频：请把文件放在字段 audio 里，例如 curl -F audio=@a.wav",
    # what is spoken, and by whom
    "{} holds nothing that can be spoken: no letter and no digit": "{0} 里没有可以读出来的内容：没有文字，也没有数字",
    "{} has {} characters; at most {} are taken in one request": "{0} 有 {1} 个字符；一次最多 {2} 个",
    "the recording lasts {} s; {} to {} s work": "录音长 {0} 秒；可用的长度是 {1} 到 {2} 秒",
    "no speech was found in the recording; 3 to 10 s of one person, without music, work best":
    "录音里没有人声；一个人说 3 到 10 秒、没有音乐的效果最好",
    "there is a voice {} already: delete it first, or choose another name":
    "音色 {0} 已经存在：请先删除它，或换一个名称",
    "the name of a voice has 1 to {} characters, got {}": "音色的名称应为 1 到 {0} 个字符，收到 {1} 个",
    "the name of a voice is made of letters, digits, spaces, '_', '-' and '.'":
    "音色的名称由文字、数字、空格、“_”、“-”和“.”组成",
    "there is no added voice {}; there are: {}": "没有添加过音色 {0}；现有：{1}",
    # a service, and what it is for its users at this moment
    "the engine is starting": "引擎正在启动",
    "shutting down": "正在关闭",
    "the start was cancelled": "启动被取消",
    "the engine failed to start (see the log)": "引擎未能启动（详见日志）",
    "the service is shutting down": "服务正在关闭",
    "the service is {}: {}": "服务{0}：{1}",
    "loading": "正在加载",
    "unhealthy": "暂时不可用",
    "all {} {} are in use; try again in {} s": "{0} 个{1}都已占用，请在 {2} 秒后再试",
    "sessions": "会话",
    "the API key is wrong": "API 密钥不正确",
    "the service made a mistake; its log says more": "服务出错了，日志里有更多信息",
    "chosen by --engine": "由 --engine 指定",
    "its weights, packages and device are there": "权重、软件包和设备都已就绪",
    "no CUDA device": "没有 CUDA 设备",
    "no --model-path": "没有 --model-path",
    "no weights at {}: {}": "{0} 没有权重：{1}",
    "no weights of the detokenizer at {}: {}": "{0} 没有声音模型的权重：{1}",
    "there are no weights in {}: {}": "{0} 里没有权重：{1}",
    "no recogniser of sherpa-onnx at {} ({})": "{0} 没有 sherpa-onnx 的识别模型（{1}）",
    "no voice of sherpa-onnx at {} ({})": "{0} 没有 sherpa-onnx 的声音模型（{1}）",
    "{} lacks {}: {}": "{0} 缺少 {1}：{2}",
    "the packages {} are not installed: {}": "软件包 {0} 没有安装：{1}",
    "not installed: {}: {}": "没有安装 {0}：{1}",
    # a conversation
    "a turn may last {} s: it is ended here and answered; go on in the next turn":
    "一轮最长 {0} 秒：这一轮到此为止并开始回答，请在下一轮继续",
    "the turn has no audio yet: send Ogg-Opus audio messages before endTurn or pause":
    "这一轮没有声音：请按住按钮再说话",
    "{} Opus packet(s) were damaged and left out": "有 {0} 个 Opus 数据包损坏，已略去",
}  # fmt: skip
_PART = "; "  # between sayings that come together
_NAMED = re.compile(r"([a-z][a-z0-9]*): (.+)")  # an engine, and why it is not there
_PATTERNS = [
    (re.compile("(.+?)".join(map(re.escape, english.split("{}"))), re.DOTALL), chinese)
    for english, chinese in SAYINGS.items()
]


def said_in(language: str, message: str) -> str:
    """`message` for a reader of `language` ("en", "zh"; "" for who says nothing of that)."""
    return _chinese(message) if language == "zh" else message


def _chinese(message: str) -> str:
    if (said := _whole(message)) is not None:
        return said
    if _PART in message:
        return "；".join(_chinese(part) for part in message.split(_PART))
    if named := _NAMED.fullmatch(message):
        return f"{named[1]}：{_chinese(named[2])}"
    return message


def _whole(message: str) -> str | None:
    for pattern, chinese in _PATTERNS:
        if found := pattern.fullmatch(message):
            return chinese.format(*(_chinese(group) for group in found.groups()))
    return None
