"""What was said in a conversation, as items with ids: what a client may look at and change, and what the model is asked. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from web_demo.audio.samples import WIRE_RATE, Audio
from web_demo.engines.base import Exchange, ToolCall, ToolExchange, ToolResult
from web_demo.server.conversation.reply import SpokenReply

HISTORY_PAIRS = 8  # that the model sees before the turn which it answers
MAX_ITEMS = 256  # of one conversation; the oldest go first

SLACK = WIRE_RATE // 2  # samples; who plays an answer counts by another clock

FIRST = "root"  # "after" this stands what comes before all others


def new_id() -> str:
    return f"item_{secrets.token_hex(9)}"


@dataclass(frozen=True)
class UserSaid:
    """`text` was written. `audio` was spoken, and `transcript` is what a recogniser made of it, None as long as none did."""

    id: str
    text: str = ""
    audio: Audio | None = None
    transcript: str | None = None


@dataclass(frozen=True)
class AssistantSaid:
    """As far as the user has heard, or read, it. `reply` knows its sound, where there was any."""

    id: str
    text: str = ""
    reply: SpokenReply | None = None
    under_way: bool = False


@dataclass(frozen=True)
class SystemSaid:
    id: str
    text: str


@dataclass(frozen=True)
class FunctionCalled:
    id: str
    call: ToolCall


@dataclass(frozen=True)
class FunctionReturned:
    id: str
    result: ToolResult


Item = UserSaid | AssistantSaid | SystemSaid | FunctionCalled | FunctionReturned


class WrongCall(ValueError):
    """A result of a call that the conversation does not have."""


class NoSuchItem(ValueError):
    """The conversation has no item with this id."""


@dataclass(frozen=True)
class Asked:
    """What an answer depends on: the last turn of the user, or nothing of one where it was answered, and what was before."""

    history: tuple[Exchange, ...] = ()
    audio: Audio | None = None
    text: str = ""
    tool_exchanges: tuple[ToolExchange, ...] = ()
    system: tuple[str, ...] = ()  # what the client's system messages say
    user_item: str = ""  # the id of the turn's sound


class History:
    """The items of one conversation, oldest first. `keep_sound`: whether sound is wanted when its words are known."""

    def __init__(self, keep_sound: Callable[[], bool]) -> None:
        self._keep_sound = keep_sound
        self._items: dict[str, Item] = {}

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items.values())

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._items

    def add(self, item: Item, after: str | None = None) -> str | None:
        """`after`: the id of another one, FIRST, or None for the end. Returns the id of the item before it, None at the beginning.
        Raises NoSuchItem, WrongCall, and ValueError for an id that is there already."""
        if item.id in self._items:
            raise ValueError(f"the conversation has an item {item.id[:80]!r} already")
        if isinstance(item, FunctionReturned) and item.result.call_id not in self._calls():
            raise WrongCall(f"the conversation has no call {item.result.call_id[:80]!r}")
        ids = list(self._items)
        place = len(ids)
        if after is not None:
            place = 0 if after == FIRST else ids.index(self.find(after).id) + 1
        items = list(self._items.values())
        items.insert(place, item)
        self._items = {one.id: one for one in items}
        return ids[place - 1] if place else None

    def _calls(self) -> set[str]:
        return {item.call.call_id for item in self if isinstance(item, FunctionCalled)}

    def find(self, item_id: str) -> Item:
        """Raises NoSuchItem."""
        if item_id not in self._items:
            raise NoSuchItem(f"the conversation has no item {item_id[:80]!r}")
        return self._items[item_id]

    def replace(self, item: Item) -> None:
        """The item with the same id, if it is still there."""
        if item.id in self._items:
            self._items[item.id] = item

    def delete(self, item_id: str) -> None:
        """Raises NoSuchItem."""
        del self._items[self.find(item_id).id]

    def clear(self) -> None:
        self._items.clear()

    def understood(self, item_id: str, transcript: str) -> bool:
        """Whether the words of that item are news, and its sound had none yet."""
        item = self._items.get(item_id)
        if not isinstance(item, UserSaid) or item.transcript is not None:
            return False
        self._items[item_id] = replace(item, transcript=transcript)
        return True

    def truncate(self, item_id: str, samples: int) -> str:
        """Keep what was said in the first `samples` of an answer's sound; returns that. Raises NoSuchItem, and ValueError for what
        is no spoken answer, or shorter."""
        item = self.find(item_id)
        if not isinstance(item, AssistantSaid) or item.reply is None or not item.reply.samples:
            raise ValueError("only a spoken answer of the assistant can be truncated")
        if samples > item.reply.samples + SLACK and not item.under_way:
            raise ValueError("the answer is shorter than that")
        text = item.reply.played(samples)
        self._items[item_id] = replace(item, text=text, under_way=False)
        return text

    def said(self, item_id: str, text: str) -> None:
        """The answer that was under way is over, unless it was truncated before."""
        item = self._items.get(item_id)
        if isinstance(item, AssistantSaid) and item.under_way:
            self._items[item_id] = replace(item, text=text, under_way=False)

    def forget_calls(self) -> None:
        """Those that still wait for a result."""
        waiting = {call.call_id for call in self.open_calls}
        for item in list(self):
            if isinstance(item, FunctionCalled) and item.call.call_id in waiting:
                del self._items[item.id]

    def forget_turn(self) -> None:
        """The user's last turn, and what came of it."""
        last = max((place for place, item in enumerate(self) if isinstance(item, UserSaid)), default=0)
        for item_id in list(self._items)[last:]:
            del self._items[item_id]

    def prune(self) -> None:
        """Forget the sound that nobody needs any more, and the oldest items beyond MAX_ITEMS."""
        for item_id in list(self._items)[: max(len(self._items) - MAX_ITEMS, 0)]:
            del self._items[item_id]
        spoken = [item for item in self if isinstance(item, UserSaid) and item.audio is not None]
        recent = {item.id for item in spoken[-HISTORY_PAIRS - 1 :]}
        for item in spoken[:-1]:  # the last may be asked about again
            if item.id not in recent or (item.transcript is not None and not self._keep_sound()):
                self._items[item.id] = replace(item, audio=None)

    @property
    def open_calls(self) -> list[ToolCall]:
        """Calls of functions since the user's last turn that still wait for a result."""
        calls: dict[str, ToolCall] = {}
        for item in self:
            match item:
                case UserSaid():
                    calls.clear()
                case FunctionCalled(_, call):
                    calls[call.call_id] = call
                case FunctionReturned(_, result):
                    calls.pop(result.call_id, None)
        return list(calls.values())

    def asked(self, items: Iterable[Item | str] | None = None) -> Asked:
        """What is to be answered now; of the conversation, or of `items`, or those with these ids, instead. Raises NoSuchItem."""
        chosen = [self.find(item) if isinstance(item, str) else item for item in (self if items is None else items)]
        results = {item.result.call_id: item.result for item in chosen if isinstance(item, FunctionReturned)}
        pairs = _pairs(chosen)
        turn = pairs.pop() if pairs and pairs[-1].open else _Pair()
        user = turn.user or UserSaid("")
        return Asked(
            tuple(exchange for pair in pairs for exchange in self._exchanges(pair, results))[-HISTORY_PAIRS:],
            user.audio,
            user.text if user.audio is not None else _words(user),
            _tools(turn, results),
            tuple(item.text for item in chosen if isinstance(item, SystemSaid)),
            user.id if user.audio is not None else "",
        )

    def _exchanges(self, pair: _Pair, results: Mapping[str, ToolResult]) -> Iterator[Exchange]:
        """What was spoken and what was written in one item are two, of which the second was answered."""
        said, tools = " ".join(pair.said), _tools(pair, results)
        if pair.user is None:
            if said or tools:
                yield Exchange("", said, None, tools)
            return
        spoken = pair.user.transcript or ""
        audio = pair.user.audio if self._keep_sound() or not spoken else None
        if audio is not None and pair.user.text:
            yield Exchange(spoken, "", audio)
            yield Exchange(pair.user.text, said, None, tools)
        elif (words := _words(pair.user)) or audio is not None or said or tools:
            yield Exchange(words, said, audio, tools)


@dataclass
class _Pair:
    """What the user said and what came of it; one side may be missing."""

    user: UserSaid | None = None
    said: list[str] = field(default_factory=list)
    calls: list[list[ToolCall]] = field(default_factory=list)  # in lists of what was called at the same time
    open: bool = False  # it is to be answered yet


def _pairs(items: Iterable[Item]) -> list[_Pair]:
    pairs: list[_Pair] = []
    calling = False  # the item before was a call
    for item in items:
        if isinstance(item, UserSaid) or not pairs:
            pairs.append(_Pair())
        last = pairs[-1]
        match item:
            case UserSaid():
                last.user, last.open = item, True
            case AssistantSaid(_, text) if text:
                last.said.append(text)
                last.open = False
            case FunctionCalled(_, call):
                if not calling:
                    last.calls.append([])
                last.calls[-1].append(call)
            case FunctionReturned(_, result):
                if any(call.call_id == result.call_id for calls in last.calls for call in calls):
                    last.open = True
        calling = isinstance(item, FunctionCalled)
    return pairs


def _tools(pair: _Pair, results: Mapping[str, ToolResult]) -> tuple[ToolExchange, ...]:
    """Calls that were never answered are left out."""
    answered = (tuple(call for call in calls if call.call_id in results) for calls in pair.calls)
    return tuple(ToolExchange(calls, tuple(results[call.call_id] for call in calls)) for calls in answered if calls)


def _words(user: UserSaid) -> str:
    return "\n".join(part for part in (user.transcript, user.text) if part)
