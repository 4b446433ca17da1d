"""Whose voice a request asks for, in the shapes of this and of other servers: a name, or a recording. Pure.

A name stands in `speaker_id`, `voice` or what others call it, as a text or as an object (`{"id": …}`). A recording stands in
`prompt_wav` and `prompt_text` (CosyVoice), `ref_audio` and `ref_text` (vllm-omni,
https://docs.vllm.ai/projects/vllm-omni/en/stable/serving/speech_api/), in the one element of `references` (`audio`, `text`, as
SiliconFlow and Fish Speech have it), or in the voice's object. A field that asks for another voice in a way that is not known here
is refused: whoever sends one would take the default voice for a mistake of the model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from web_demo.errors import InvalidRequest
from web_demo.server.common.forms import boolean

UPLOAD_FIELD = "prompt_wav"  # of a form, as a file; as a text it is a data: URL, or a path inside --prompt-dir

_NAME_FIELDS = ("speaker_id", "voice", "voice_id", "speaker", "spk_id", "speaker_name", "voice_name")
_RECORDING_FIELDS = {  # with the field of what is said in it
    "prompt_wav": "prompt_text",
    "prompt_audio": "prompt_text",
    "ref_audio": "ref_text",
    "reference_audio": "reference_text",
}
_INNER_FIELDS = {"audio": "text"}  # besides, in an object of its own
_KNOWN = frozenset((*_NAME_FIELDS, *_RECORDING_FIELDS, *_RECORDING_FIELDS.values(), "references", "x_vector_only_mode"))

# Parts of the names of fields that other servers have for cloning.
_CLONING = frozenset(
    ("ref", "refs", "reference", "references", "clone", "cloned", "cloning", "embedding", "embeddings")
)
_VOICES = frozenset(("prompt", "speaker", "spk", "voice"))
_AUDIO = frozenset(("audio", "wav", "speech"))
_CONTENT = frozenset(("file", "files", "url", "path", "sample", "samples", "base64", "b64", "data"))
_SOUNDS = (
    _AUDIO | _CONTENT | frozenset(("text", "transcript", "recording", "vector", "latents", "description", "design"))
)
_PART = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+")
_NESTED = 4  # objects in objects, that are looked into


@dataclass(frozen=True)
class Recording:
    """`source` as it was sent: a path (`prompt_wav` only), a data: URL or base64; or `content`, what was uploaded. `field` and
    `text_field`: where they stood, for messages."""

    field: str
    source: str = ""
    content: bytes = b""
    text: str = ""
    text_field: str = ""

    @property
    def may_be_path(self) -> bool:
        return self.field == UPLOAD_FIELD

    @property
    def size(self) -> int:
        """What it takes of memory, as it was sent."""
        return len(self.source) + len(self.content)


def asked_voice(body: Mapping[str, Any], upload: bytes = b"") -> tuple[str, Recording | None]:
    """The name, "" for none, and the recording, which goes before the name. `upload`: the form's file. Raises InvalidRequest for
    two voices, for halves of one, and for shapes that are not known."""
    _refuse_unknown(body)
    names, recordings = [], list(_recordings(body, _RECORDING_FIELDS, "", upload))
    for field in _NAME_FIELDS:
        value = body.get(field)
        if isinstance(value, Mapping):
            name, found = _from_object(field, value)
            recordings += found
        else:
            name = _text(value, field)
        if name:
            names.append((field, name))
    recordings += _references(body.get("references"))
    if len({name for _, name in names}) > 1:
        raise InvalidRequest(f"{' and '.join(field for field, _ in names)} name different voices; send one of them")
    if len(recordings) > 1:
        fields = " and ".join(recording.field for recording in recordings)
        raise InvalidRequest(f"{fields} are more than one recording; a voice is made of one")
    recording = recordings[0] if recordings else None
    _check_mode(body, named=bool(names), recording=recording)
    return names[0][1] if names else "", recording


def _from_object(field: str, value: Mapping[str, Any]) -> tuple[str, list[Recording]]:
    _refuse_unknown(value)
    name = _text(value.get("id"), f"{field}.id")
    found = list(_recordings(value, {**_RECORDING_FIELDS, **_INNER_FIELDS}, f"{field}."))
    if not name and not found:
        raise InvalidRequest(
            f'{field} must be a string, or an object such as {{"id": "中文女"}} or {{"ref_audio": "data:audio/wav;base64,…", '
            '"ref_text": "what is said in it"}'
        )
    return name, found


def _references(value: Any) -> list[Recording]:
    if not value:
        return []
    if not isinstance(value, list) or len(value) != 1 or not isinstance(value[0], Mapping):
        raise InvalidRequest(
            'references must be a list of one object: [{"audio": "data:audio/wav;base64,…", "text": "…"}]'
        )
    found = list(_recordings(value[0], {**_RECORDING_FIELDS, **_INNER_FIELDS}, "references[0]."))
    if not found:
        raise InvalidRequest(
            "references[0] needs audio, the recording itself in base64, and text: paths and names are not taken"
        )
    return found


def _recordings(
    body: Mapping[str, Any], fields: Mapping[str, str], prefix: str, upload: bytes = b""
) -> Iterator[Recording]:
    texts_used = set()
    for field, text_field in fields.items():
        source = _text(body.get(field), prefix + field)
        content = upload if field == UPLOAD_FIELD else b""
        if source or content:
            texts_used.add(text_field)
            text = _text(body.get(text_field), prefix + text_field).strip()
            yield Recording(prefix + field, source, content, text, prefix + text_field)
    for field, text_field in fields.items():
        if text_field not in texts_used and _text(body.get(text_field), prefix + text_field).strip():
            raise InvalidRequest(
                f"{prefix}{text_field} came without {prefix}{field}, the recording in which it is said"
            )


def _refuse_unknown(body: Mapping[str, Any]) -> None:
    """A field such as `speaker_embedding` asks for a voice that this service cannot make, and one in another object, such as
    `extra_body`, would not be seen."""
    for field, value in body.items():
        if field in _KNOWN:
            continue
        if asked := next(_asking(field, value, _NESTED), ""):
            raise InvalidRequest(
                f"{asked[:100]!r} asks for a voice in a way that is not known here: send the recording as ref_audio (base64, or "
                "data:audio/wav;base64,…) and what is said in it as ref_text, or name a voice of /api/speakers"
            )


def _asking(field: str, value: Any, nested: int) -> Iterator[str]:
    """The fields that ask for a voice, in `value` too."""
    if not value or str(value).strip().lower() == "false":
        return
    name = field.rpartition(".")[2]
    if _is_about_a_voice(name) or ("." in field and name in _RECORDING_FIELDS):
        yield field
    elif isinstance(value, Mapping) and nested:
        for key, inner in value.items():
            yield from _asking(f"{field}.{key}", inner, nested - 1)


def _is_about_a_voice(field: str) -> bool:
    parts = {part.lower() for part in _PART.findall(field)}
    if parts & _CLONING or (parts & _VOICES and parts & _SOUNDS):
        return True
    return bool(parts & _AUDIO and parts & _CONTENT) and "rate" not in parts


def _check_mode(body: Mapping[str, Any], *, named: bool, recording: Recording | None) -> None:
    """What vllm-omni calls the kind of a voice."""
    if boolean("x_vector_only_mode", body.get("x_vector_only_mode")):
        raise InvalidRequest("x_vector_only_mode is not known here: a voice needs ref_text, what is said in ref_audio")
    kind = _text(body.get("task_type"), "task_type").replace("_", "").lower()
    if kind == "voicedesign":
        raise InvalidRequest(
            "task_type VoiceDesign is not known here: name a voice of /api/speakers, or send ref_audio"
        )
    if kind == "base" and not named and recording is None:
        raise InvalidRequest("task_type Base needs a voice: send ref_audio and ref_text, or name one of /api/speakers")


def _text(value: Any, field: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidRequest(f"{field} must be a string, got {type(value).__name__}")
    return value
