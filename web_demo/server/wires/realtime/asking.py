"""What a client of OpenAI Realtime asks for, as events of a conversation. Pure, but for the sound of items."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from utils.bucket import TokenBucket
from utils.threads import off_loop
from web_demo.server.common.realtime.audio import audio_in
from web_demo.server.common.realtime.events import ClientEvent, Event, error_event, event, unknown_event
from web_demo.server.common.realtime.fields import EventError, Fields
from web_demo.server.conversation import events as core
from web_demo.server.conversation.history import Item, UserSaid
from web_demo.server.conversation.options import AnswerOptions
from web_demo.server.conversation.user_audio import AHEAD_S, RATE
from web_demo.server.wires.realtime.items import MAX_ID, item_of
from web_demo.server.wires.realtime.responses import Asked
from web_demo.server.wires.realtime.settings import Settings, metadata_of
from web_demo.server.wires.realtime.telling import BY_ITSELF, Telling

MAX_INPUT = 64  # items that one response answers instead of the conversation
MAX_TRUNCATION_MS = 3_600_000

Step = core.ClientEvent | Event


@dataclass(frozen=True)
class _Held:
    """A response that waits until all results of the calls of a turn are there: they come one by one."""

    options: AnswerOptions
    asked: Asked
    speech: bool
    turn: int


class Asking:
    """`now` is the clock of what sound may come in items, in seconds: as much as in the buffer."""

    def __init__(self, settings: Settings, telling: Telling, now: Callable[[], float]) -> None:
        self.settings = settings
        self._telling = telling
        self._budget = TokenBucket(AHEAD_S, RATE, now)
        self._held: _Held | None = None

    async def steps(self, asked: ClientEvent) -> AsyncGenerator[Step, None]:
        """What the conversation is to do, and answers that need nothing of it. Raises EventError; then nothing is done."""
        fields = asked.fields
        match asked.type:
            case "session.update":
                self.settings = self.settings.updated(_object(fields, "session"))
                yield core.Configure(self.settings.options)
                yield event("session.updated", session=self.settings.fields)
            case "input_audio_buffer.append":
                if data := audio_in(fields, self.settings.heard.format, AHEAD_S):
                    yield core.AudioIn(data)
            case "input_audio_buffer.commit":
                yield core.Commit()
            case "input_audio_buffer.clear":
                yield core.Discard()
            case "conversation.item.create":
                async for step in self._create_item(fields):
                    yield step
            case "conversation.item.retrieve":
                yield core.GetItem(_item_id(fields))
            case "conversation.item.delete":
                yield core.DeleteItem(_item_id(fields))
            case "conversation.item.truncate":
                fields.number("content_index", 0, 0, 0)
                end_ms = fields.number("audio_end_ms", 0, MAX_TRUNCATION_MS)
                yield core.TruncateItem(_item_id(fields), end_ms / 1000)
            case "response.create":
                async for step in self._create_response(fields):
                    yield step
            case "response.cancel":
                yield self._cancel(fields)
            case _:
                raise unknown_event(asked, TYPES)

    async def _create_item(self, fields: Fields) -> AsyncGenerator[Step, None]:
        item = await self._item(_object(fields, "item"))
        yield core.AddItem(item, fields.text("previous_item_id", "", most=MAX_ID) or None)
        held = self._held
        if held is not None and not self._telling.open_calls:
            self._held = None
            if held.turn == self._telling.turns:  # else the user has gone on
                async for step in self._answer(held.options, held.asked, speech=held.speech):
                    yield step

    async def _item(self, fields: Fields) -> Item:
        """Its sound is charged before it is decoded."""
        audio = self.settings.heard.format
        most_s = max(self._budget.level, 0.0)
        item = await off_loop(item_of, fields, audio, most_s)
        if isinstance(item, UserSaid) and item.audio is not None:
            self._budget.take(item.audio.seconds)
        return item

    async def _create_response(self, fields: Fields) -> AsyncGenerator[Step, None]:
        own = fields.object("response") or Fields({}, "response")
        remember = own.choice("conversation", ("auto", "none"), "auto") == "auto"
        context = None
        if own.data.get("input") is not None:
            context = tuple([await self._reference(item) for item in own.objects("input", MAX_INPUT)])
        options, answering = self.settings.answer(own, AnswerOptions(remember=remember, context=context))
        limit = answering.max_output_tokens
        asked = Asked(explicit=True, metadata=metadata_of(own), remember=remember, max_output_tokens=limit)
        bare = remember and context is None and options.system_prompt is None
        if bare and self._telling.open_calls:
            self._held = _Held(options, asked, answering.speech, self._telling.turns)
            return
        async for step in self._answer(options, asked, speech=answering.speech):
            yield step

    async def _answer(self, options: AnswerOptions, asked: Asked, *, speech: bool) -> AsyncGenerator[Step, None]:
        """What comes back in the response is told while it begins, and forgotten where it does not."""
        self._telling.asked, self._telling.asked_speech = asked, speech
        yield core.Answer(options)
        self._telling.asked, self._telling.asked_speech = BY_ITSELF, None

    async def _reference(self, fields: Fields) -> Item | str:
        if fields.data.get("type") == "item_reference":
            return _text_id(fields, "id")
        return await self._item(fields)

    def _cancel(self, fields: Fields) -> Step:
        response_id = fields.text("response_id", "", most=MAX_ID)
        turn = self._telling.turn_of(response_id) if response_id else None
        if response_id and turn is None:
            wrong = EventError("no such response is under way", code="response_cancel_not_active", param="response_id")
            return error_event(wrong, self._telling.asking[1])
        return core.Cancel(turn)


def _object(fields: Fields, key: str) -> Fields:
    found = fields.object(key)
    if found is None:
        raise EventError(f"{key} is missing", code="missing_required_parameter", param=key)
    return found


def _item_id(fields: Fields) -> str:
    return _text_id(fields, "item_id")


def _text_id(fields: Fields, key: str) -> str:
    return fields.text(key, most=MAX_ID)


TYPES = (
    "session.update",
    "input_audio_buffer.append",
    "input_audio_buffer.commit",
    "input_audio_buffer.clear",
    "conversation.item.create",
    "conversation.item.retrieve",
    "conversation.item.delete",
    "conversation.item.truncate",
    "response.create",
    "response.cancel",
)
