"""Transcripts as clients want them: JSON, subtitles, plain text. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from html import escape
from typing import Any

from web_demo.engines.base import Segment, Transcript
from web_demo.server.asr.subtitles import cues

Json = dict[str, Any]


def segment_json(segment: Segment) -> Json:
    """Without "words" where the engine has no word times."""
    body: Json = {"text": segment.text, "start": segment.start_s, "end": segment.end_s}
    if segment.words is not None:
        body["words"] = [{"word": w.text, "start": w.start_s, "end": w.end_s} for w in segment.words]
    return body


def transcribe_json(
    transcript: Transcript, language: str, duration_s: float, damage: str, with_cues: bool = False
) -> Json:
    """The answer of /api/transcribe; `with_cues`: with subtitles too."""
    body: Json = {
        "text": transcript.text,
        "language": language,
        "success": True,
        "duration": round(duration_s, 3),
        "segments": [segment_json(segment) for segment in transcript.segments],
    }
    if with_cues:
        body["cues"] = cues_json(transcript)
    if transcript.ignored_hotwords:
        body["ignored_hotwords"] = list(transcript.ignored_hotwords)
    if damage:
        body["warning"] = damage
    return body


def language_label(asked: str, used: str) -> str:
    """As the client wrote it; where it wrote nothing, 中文 for Chinese (the documented default) and else the code."""
    named = asked.strip().lower() not in ("", "auto")
    return asked.strip() if named else {"zh": "中文"}.get(used, used)


def warning(said: Iterable[str], seconds: float, text: str) -> str:
    """What the client has to know about a recording that was heard to its end; "" for nothing. `said`: the warnings and remarks of
    its decoder."""
    told = list(said)
    if not text and not told:
        told.append(f"no speech was heard in {seconds:.1f} s of sound")
    return "; ".join(told)


def usage(duration_s: float) -> Json:
    return {"type": "duration", "seconds": round(duration_s, 3)}


def verbose_json(
    transcript: Transcript, duration_s: float, granularities: Collection[str], task: str = "transcribe"
) -> Json:
    """OpenAI's verbose_json. The statistics of Whisper's decoder, which its clients' types require, do not exist here: they have
    the values of a segment that is beyond doubt."""
    body: Json = {
        "task": task,
        "language": transcript.language,
        "duration": round(duration_s, 3),
        "text": transcript.text,
    }
    if "segment" in granularities:
        body["segments"] = [
            {"id": number, "start": s.start_s, "end": s.end_s, "text": s.text, **_statistics(s)}
            for number, s in enumerate(transcript.segments)
        ]
    if "word" in granularities:
        body["words"] = [
            {"word": w.text, "start": w.start_s, "end": w.end_s} for s in transcript.segments for w in s.words or ()
        ]
    return body | {"usage": usage(duration_s)}


def _statistics(segment: Segment) -> Json:
    return {
        "seek": round(segment.start_s * 100),  # in Whisper's frames of 10 ms
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": 0.0,
        "compression_ratio": 1.0,
        "no_speech_prob": 0.0,
    }


def cues_json(transcript: Transcript) -> list[Json]:
    """Subtitles; a line break in "text" is one on the screen."""
    return [{"start": cue.start_s, "end": cue.end_s, "text": "\n".join(cue.lines)} for cue in cues(transcript)]


def srt(transcript: Transcript) -> str:
    return "\n".join(
        f"{number}\n{_clock(cue.start_s, ',')} --> {_clock(cue.end_s, ',')}\n" + "\n".join((*cue.lines, ""))
        for number, cue in enumerate(cues(transcript), 1)
    )


def vtt(transcript: Transcript) -> str:
    """https://www.w3.org/TR/webvtt1/: in its text, &, < and > are written as entities."""
    blocks = (
        f"{_clock(cue.start_s, '.')} --> {_clock(cue.end_s, '.')}\n" + escape("\n".join((*cue.lines, "")), quote=False)
        for cue in cues(transcript)
    )
    return "\n".join(("WEBVTT\n", *blocks))


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"
