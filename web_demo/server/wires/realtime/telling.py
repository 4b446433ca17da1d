"""The events of a conversation to server events of OpenAI Realtime, in the order that its clients need. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from web_demo.errors import EngineFailed, NothingHeard
from web_demo.server.common.realtime.events import Event, error_event, event, new_id
from web_demo.server.common.realtime.fields import EventError
from web_demo.server.common.realtime.user_events import (
    cleared,
    committed,
    item_added,
    item_done,
    speech_started,
    speech_stopped,
    spoken_item,
    transcript_completed,
    transcript_delta,
    transcript_failed,
)
from web_demo.server.conversation.events import (
    AnswerBegan,
    AnswerEnded,
    AnswerFailed,
    AudioDamaged,
    Committed,
    Discarded,
    Interrupted,
    ItemAdded,
    ItemDeleted,
    ItemFound,
    ItemTruncated,
    Refused,
    ReplyAudio,
    ReplyText,
    ServerEvent,
    SpeechBegan,
    SpeechEnded,
    ToolCalled,
    Transcribed,
    TranscriptionFailed,
    TurnFull,
    Unreadable,
    WrongItem,
    WrongToolResults,
)
from web_demo.server.conversation.history import FunctionReturned, UserSaid
from web_demo.server.conversation.turn import Refusal
from web_demo.server.wires.realtime.items import json_of
from web_demo.server.wires.realtime.responses import Asked, Response
from web_demo.server.wires.realtime.settings import Settings

BY_ITSELF = Asked()
REFUSALS = {
    Refusal.ALREADY_ANSWERING: (
        "conversation_already_has_active_response",
        "a response is under way: wait for its response.done, or cancel it",
    ),
    Refusal.NOTHING_SAID: (
        "input_audio_buffer_commit_empty",
        "the buffer holds less than 100 ms of sound: append some before the commit",
    ),
    Refusal.NOTHING_TO_CANCEL: ("response_cancel_not_active", "no response is under way"),
    Refusal.NO_TURN: ("input_audio_buffer_commit_empty", "no turn is open"),
    Refusal.ALREADY_OPEN: ("invalid_value", "a turn is open already"),
    Refusal.NO_CALLS: ("invalid_value", "no response waits for results of its calls"),
}
OPERATIONS = {
    "conversation.item.create": "item_create_",
    "conversation.item.delete": "item_delete_",
    "conversation.item.truncate": "item_truncate_",
    "conversation.item.retrieve": "item_retrieve_",
}


class Telling:
    """`settings` is asked for the session's settings of the moment. What the client asks for is told here before it is done:
    `asked` of the next response, and `asking`, its event's type and id, for errors."""

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings
        self.conversation_id = new_id("conv")
        self.asked = BY_ITSELF
        self.asked_speech: bool | None = None
        self.asking: tuple[str, str | None] = ("", None)
        self.turns = 0  # of the user
        self.open_calls: set[str] = set()  # of the latest one, without a result
        self._responses: dict[int, Response] = {}  # under way, by their turns
        self._heard_s = 0.0  # since the last response began

    def turn_of(self, response_id: str) -> int | None:
        """The number of an answer that is under way."""
        return next((turn for turn, response in self._responses.items() if response.id == response_id), None)

    def tell(self, said: ServerEvent) -> Iterator[Event]:
        """Its messages, in order; none for what clients need not know."""
        match said:
            case AnswerBegan(turn, item_id):
                yield from self._begin(turn, item_id)
            case ReplyText(turn) | ReplyAudio(turn) | ToolCalled(turn) | AnswerEnded(turn) | AnswerFailed(turn):
                if response := self._responses.get(turn):
                    yield from self._answer(response, said)
            case Interrupted(turn, played, _, by_voice):
                if response := self._responses.pop(turn, None):
                    yield from response.cancelled(played, "turn_detected" if by_voice else "client_cancelled")
            case ItemAdded() | ItemDeleted() | ItemTruncated() | ItemFound():
                yield from self._item(said)
            case Refused() | WrongItem() | Unreadable() | AudioDamaged() | TurnFull() | WrongToolResults():
                yield from self._problem(said)
            case _:
                yield from self._user(said)

    # --- what the user says ---

    def _user(self, said: ServerEvent) -> Iterator[Event]:
        told = self._settings().heard
        match said:
            case SpeechBegan(at_s, item_id):
                prefix_s = told.turn_detection.prefix_s if told.turn_detection else 0.0
                yield speech_started(item_id, max(at_s - prefix_s, 0.0))
            case SpeechEnded(at_s, item_id):
                yield speech_stopped(item_id, at_s)
            case Committed(item_id, previous, seconds):
                self._heard_s += seconds
                self._new_turn()
                yield committed(item_id, previous)
                item = spoken_item(item_id)
                yield item_added(item, previous)
                yield item_done(item, previous)
            case Discarded():
                yield cleared()
            case Transcribed(_, text, item_id, seconds) if told.transcription is not None:
                if text:
                    yield transcript_delta(item_id, text)
                yield transcript_completed(item_id, text, seconds)
            case TranscriptionFailed(item_id, message):
                yield transcript_failed(item_id, EngineFailed(message))

    def _new_turn(self) -> None:
        self.turns += 1
        self.open_calls.clear()

    # --- answers ---

    def _begin(self, turn: int, item_id: str) -> Iterator[Event]:
        settings, asked = self._settings(), self.asked
        speech = settings.answering.speech if self.asked_speech is None else self.asked_speech
        self.asked, self.asked_speech = BY_ITSELF, None
        output = settings.fields["audio"]["output"]
        limit = settings.answering.max_output_tokens if asked.max_output_tokens is None else asked.max_output_tokens
        fields = {
            "audio": {"output": {"format": output.get("format"), "voice": output.get("voice")}},
            "max_output_tokens": limit or "inf",
        }
        response = Response(
            turn,
            item_id,
            asked,
            speech,
            fields,
            self.conversation_id,
            input_text_bytes=len(settings.answering.instructions.encode()),
            input_s=self._heard_s,
        )
        self._heard_s = 0.0
        self._responses[turn] = response
        if asked.explicit:  # else once it is certain that there is something to answer
            yield from response.begin()

    def _answer(self, response: Response, said: ServerEvent) -> Iterator[Event]:
        match said:
            case ReplyText(_, delta):
                yield from response.text(delta)
            case ReplyAudio(_, audio):
                yield from response.audio(audio)
            case ToolCalled(_, call, item_id, previous):
                if response.asked.remember:
                    self.open_calls.add(call.call_id)
                yield from response.call(item_id, call, previous)
            case AnswerEnded(cut=cut):
                del self._responses[response.turn]
                yield from response.completed(cut=cut)
            case AnswerFailed(_, message, code):
                del self._responses[response.turn]
                if response.created or code != NothingHeard.code:
                    yield from response.failed(message, code)

    # --- items ---

    def _item(self, said: ItemAdded | ItemDeleted | ItemTruncated | ItemFound) -> Iterator[Event]:
        match said:
            case ItemAdded(item, previous):
                for response in self._responses.values():
                    if response.item_id == item.id:
                        yield from response.open_message(previous)
                        return
                if isinstance(item, UserSaid):
                    self._new_turn()
                elif isinstance(item, FunctionReturned):
                    self.open_calls.discard(item.result.call_id)
                yield item_added(json_of(item), previous)
                yield item_done(json_of(item), previous)
            case ItemDeleted(item_id):
                yield event("conversation.item.deleted", item_id=item_id)
            case ItemTruncated(item_id, heard_s):
                yield event(
                    "conversation.item.truncated",
                    item_id=item_id,
                    content_index=0,
                    audio_end_ms=round(heard_s * 1000),
                )
            case ItemFound(item):
                yield event("conversation.item.retrieved", item=json_of(item))

    # --- problems: sparingly, since some clients hang up at any error ---

    def _problem(self, said: ServerEvent) -> Iterator[Event]:
        kind, event_id = self.asking
        match said:
            case Refused(why):
                code, message = REFUSALS[why]
                yield error_event(EventError(message, code=code), event_id)
            case WrongItem(reason, missing):
                code = f"{OPERATIONS.get(kind, '')}invalid_item_id" if missing else "invalid_value"
                yield error_event(EventError(reason, code=code, param="item_id" if missing else None), event_id)
            case Unreadable(reason):
                yield error_event(EventError(reason, code="invalid_audio", param="audio"), event_id)
