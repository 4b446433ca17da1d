"""Conversations by OpenAI Realtime over a real WebSocket: spoken and written turns, interruption, functions, items."""

import asyncio
import base64

import pytest

from tests.speech import recording
from tests.talk import LONG, s2s, say, serving, tone, until
from tests.web_demo.server.wires.realtime.client import Client, connected
from web_demo.audio.samples import Audio, silence
from web_demo.engines.base import Heard, LimitReached, TextDelta, ToolCall, TurnRequest
from web_demo.engines.fakes import ScriptedS2s
from web_demo.errors import EngineFailed, NothingHeard

WEATHER = {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}}
TRANSCRIPTION = {"model": "any"}
PARTS = ["output_audio_transcript.delta", "output_audio.delta"]


def calling(*call_ids: str):
    """Calls as many functions; with their results, says them."""

    def script(turn: TurnRequest):
        if not turn.tool_exchanges:
            return [ToolCall(call_id, "get_weather", {"city": "Paris"}) for call_id in call_ids]
        return say(" ".join(result.content for result in turn.tool_exchanges[-1].results))(turn)

    return script


def order(types: list[str]) -> list[str]:
    """Event types, those that repeat once."""
    return list(dict.fromkeys(types))


async def speak(client: Client) -> None:
    """With the silence that ends it."""
    spoken = recording("go_forward_ten_meters")
    await client.append(silence(0.3, 24_000))
    await client.append(spoken)
    await client.append(silence(0.8, 24_000))


async def test_the_session_comes_first_and_an_update_gives_all_of_it_back():
    async with serving(s2s(ScriptedS2s(say("hi")))) as server, connected(server, "?model=gpt-realtime") as client:
        session = (await client.wait("session.created"))["session"]
        assert session["model"] == "gpt-realtime"
        assert session["audio"]["input"]["turn_detection"]["type"] == "server_vad"
        updated = await client.configure(instructions="Be brief.", audio={"output": {"voice": "nobody"}}, new=1)
        assert updated["audio"]["output"] == {**session["audio"]["output"], "voice": "nobody"}
        assert (updated["instructions"], updated["new"], updated["id"]) == ("Be brief.", 1, session["id"])


async def test_a_spoken_turn_has_all_its_events_in_the_order_that_clients_need():
    async with serving(s2s(ScriptedS2s(say("Hello there.", "How are you?")))) as server, connected(server) as client:
        await client.configure(audio={"input": {"transcription": TRANSCRIPTION}})
        here = client.here
        await speak(client)
        response = await client.done()
        first = "conversation.item.input_audio_transcription"
        types = order(client.types(here))
        user = [kind for kind in types if kind.startswith(("input_audio", first))]
        assert user == [
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            f"{first}.delta",
            f"{first}.completed",
        ]
        answer = [kind for kind in types if kind.startswith("response.")]
        assert answer[:3] == ["response.created", "response.output_item.added", "response.content_part.added"]
        assert set(answer[3:5]) == {f"response.{part}" for part in PARTS}
        assert answer[5:] == [
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.done",
        ]
        started, stopped = (
            client.of("input_audio_buffer.speech_started"),
            client.of("input_audio_buffer.speech_stopped"),
        )
        (committed,), (words,) = client.of("input_audio_buffer.committed"), client.of(f"{first}.completed")
        assert started[0]["item_id"] == stopped[0]["item_id"] == committed["item_id"] == words["item_id"]
        assert started[0]["audio_start_ms"] < stopped[0]["audio_end_ms"] <= 3_000
        assert words["usage"]["seconds"] > 0.5
        added = client.of("conversation.item.added")
        assert [event["item"]["role"] for event in added] == ["user", "assistant"]
        assert added[1]["previous_item_id"] == committed["item_id"]
        assert [event["item"]["id"] for event in client.of("conversation.item.done")] == [
            event["item"]["id"] for event in added
        ]
        (item,) = response["output"]
        assert (response["status"], item["status"], item["id"]) == ("completed", "completed", added[1]["item"]["id"])
        assert item["content"] == [{"type": "output_audio", "transcript": "Hello there. How are you? "}]
        deltas = client.of("response.output_audio_transcript.delta")
        assert "".join(event["delta"] for event in deltas) == "Hello there. How are you? "
        assert client.sound().seconds == pytest.approx(24 * 0.05, abs=0.05)
        usage = response["usage"]
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
        assert usage["output_token_details"]["audio_tokens"] == pytest.approx(24, abs=1)
        assert client.of("error") == []


async def test_the_client_commits_and_asks_where_it_detects_turns_itself():
    engine = ScriptedS2s(say("ok"))
    async with serving(s2s(engine)) as server, connected(server) as client:
        await client.by_hand()
        await client.append(tone(0.6))
        await client.send("input_audio_buffer.commit")
        committed = await client.wait("input_audio_buffer.committed")
        await client.append(tone(0.4))
        await client.send("input_audio_buffer.clear")
        await client.wait("input_audio_buffer.cleared")
        assert engine.turns == []
        await client.send("response.create", response={"metadata": {"topic": "a"}})
        assert (await client.wait("response.created"))["response"]["metadata"] == {"topic": "a"}
        assert (await client.done())["metadata"] == {"topic": "a"}
        (turn,) = engine.turns
        assert turn.audio.seconds == pytest.approx(0.6, abs=0.05)
        await client.append(tone(0.4))  # during an answer, or after it: it counts
        await client.send("input_audio_buffer.commit")
        second = await client.wait("input_audio_buffer.committed", client.here)
        assert second["previous_item_id"] != committed["item_id"]


async def test_a_written_turn_is_answered_in_text_where_text_is_asked_for():
    engine = ScriptedS2s(say("Hello.", "You."))
    async with serving(s2s(engine)) as server, connected(server) as client:
        await client.say("hi", id="mine")
        added = await client.wait("conversation.item.added")
        assert (added["item"]["id"], added["previous_item_id"]) == ("mine", None)
        await client.send("response.create", response={"output_modalities": ["text"]})
        response = await client.done()
        (item,) = response["output"]
        assert item["content"] == [{"type": "output_text", "text": "Hello. You. "}]
        assert [kind for kind in order(client.types()) if kind.startswith("response.")] == [
            "response.created",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.done",
        ]
        here = client.here
        await client.ask("and now aloud")
        await client.done(here)
        assert client.sound().seconds > 0.3
        assert engine.turns[1].history[0].assistant_text == "Hello. You. "


async def test_a_voice_interrupts_and_the_response_ends_cancelled():
    engine = ScriptedS2s(
        lambda turn: say(*["A sentence of some length."] * 9)(turn) if len(engine.turns) == 1 else say("ok")(turn)
    )
    async with serving(s2s(engine)) as server, connected(server) as client:
        await speak(client)
        await client.wait("response.output_audio.delta")
        await asyncio.sleep(0.5)
        here = client.here
        await speak(client)
        cut = await client.done(here)
        assert (cut["status"], cut["status_details"]) == ("cancelled", {"type": "cancelled", "reason": "turn_detected"})
        (item,) = cut["output"]
        assert item["status"] == "incomplete"
        types = client.types(here)
        assert types.index("input_audio_buffer.speech_started") < types.index("response.done")
        answered = await client.position("response.done", here)
        assert (await client.done(answered))["status"] == "completed"
        assert engine.turns[1].history[0].assistant_text == item["content"][0]["transcript"]
        assert engine.turns[1].history[0].assistant_text in "A sentence of some length. " * 3
    assert engine.live == 0


async def test_a_client_that_cancels_may_truncate_what_was_heard():
    engine = ScriptedS2s(
        lambda turn: (
            say("First sentence.", "Second sentence.", LONG)(turn) if len(engine.turns) == 1 else say("ok")(turn)
        )
    )
    async with serving(s2s(engine)) as server, connected(server) as client:
        await client.ask("hi")
        await client.wait("response.output_audio.delta")
        await client.send("response.cancel")
        cut = await client.done()
        assert cut["status_details"]["reason"] == "client_cancelled"
        item_id = cut["output"][0]["id"]
        await client.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=800)
        assert (await client.wait("conversation.item.truncated"))["audio_end_ms"] == 800
        await client.send("conversation.item.retrieve", item_id=item_id)
        found = (await client.wait("conversation.item.retrieved"))["item"]
        assert found["content"] == [{"type": "output_audio", "transcript": "First sentence."}]
        here = client.here
        await client.ask("go on")
        await client.done(here)
        assert engine.turns[1].history[0].assistant_text == "First sentence."
        await client.send("response.cancel", event_id="late")
        assert await client.error() == {
            "type": "invalid_request_error",
            "code": "response_cancel_not_active",
            "message": "no response is under way",
            "param": None,
            "event_id": "late",
        }


async def test_calls_are_items_and_results_that_come_one_by_one_bring_one_answer():
    engine = ScriptedS2s(calling("call_1", "call_2"))
    async with serving(s2s(engine)) as server, connected(server) as client:
        await client.configure(tools=[WEATHER], tool_choice="auto")
        await client.ask("weather?")
        response = await client.done()
        assert [item["call_id"] for item in response["output"]] == ["call_1", "call_2"]
        done = client.of("response.output_item.done")
        assert [event["item"]["status"] for event in done] == ["completed", "completed"]
        assert client.of("response.output_item.added")[0]["item"]["status"] == "in_progress"
        arguments = client.of("response.function_call_arguments.done")
        assert [(event["name"], event["arguments"]) for event in arguments] == [
            ("get_weather", '{"city": "Paris"}')
        ] * 2
        here = client.here
        for call_id, output in (("call_1", "sunny"), ("call_2", "rainy")):
            item = {"type": "function_call_output", "call_id": call_id, "output": output}
            await client.send("conversation.item.create", item=item)
            await client.send("response.create", response={"metadata": {"after": call_id}})
        first = await client.done(here)
        await asyncio.sleep(0.1)
        assert first["output"][0]["content"][0]["transcript"] == "sunny rainy "
        assert len(client.of("response.created", here)) == 1
        codes = [event["error"]["code"] for event in client.of("error")]
        assert codes in ([], ["conversation_already_has_active_response"])
        assert len(engine.turns) == 2
        here = client.here
        await client.ask("thanks")
        await client.done(here)
        assert engine.turns[2].history[0].tool_exchanges[0].results[0].content == "sunny"


async def test_an_answer_that_waits_for_results_is_given_up_when_the_user_goes_on():
    engine = ScriptedS2s(lambda turn: say("never mind")(turn) if turn.text == "forget it" else calling("c")(turn))
    async with serving(s2s(engine)) as server, connected(server) as client:
        await client.ask("weather?")
        await client.done()
        await client.send("response.create")  # waits
        here = client.here
        await client.ask("forget it")
        await client.done(here)
        item = {"type": "function_call_output", "call_id": "c", "output": "sunny"}
        await client.send("conversation.item.create", item=item)
        await client.send("conversation.item.retrieve", item_id="nobody")
        assert (await client.error())["code"] == "item_retrieve_invalid_item_id"
        assert len(client.of("response.created", here)) == 1


async def test_an_answer_with_instructions_of_its_own_does_not_wait_for_results():
    engine = ScriptedS2s(
        lambda turn: say("one moment")(turn) if turn.system_prompt == "Say: wait." else calling("c")(turn)
    )
    async with serving(s2s(engine)) as server, connected(server) as client:
        await client.ask("weather?")
        await client.done()
        here = client.here
        await client.send("response.create", response={"instructions": "Say: wait."})
        assert (await client.done(here))["output"][0]["content"][0]["transcript"] == "one moment "


async def test_speech_can_be_left_to_the_client_to_answer_and_never_interrupt():
    engine = ScriptedS2s(say(LONG))
    detection = {"type": "server_vad", "create_response": False, "interrupt_response": False}
    async with serving(s2s(engine)) as server, connected(server) as client:
        await client.configure(audio={"input": {"turn_detection": detection}})
        await speak(client)
        await client.wait("conversation.item.done")
        assert engine.turns == []
        await client.send("response.create")
        await client.wait("response.output_audio.delta")
        here = client.here
        await speak(client)
        await client.wait("input_audio_buffer.committed", here)
        assert client.of("response.done") == []


async def test_an_answer_out_of_band_leaves_no_trace_and_runs_beside():
    def script(turn: TurnRequest):
        return [TextDelta("polite")] if turn.system_prompt == "Judge." else say(LONG)(turn)

    engine = ScriptedS2s(script)
    judge = {"conversation": "none", "instructions": "Judge.", "output_modalities": ["text"], "metadata": {"n": "1"}}
    async with serving(s2s(engine)) as server, connected(server) as client:
        await client.ask("talk to me")
        await client.wait("response.output_audio.delta")
        here = client.here
        content = [{"type": "input_text", "text": "is this polite?"}]
        await client.send(
            "response.create", response=judge | {"input": [{"type": "message", "role": "user", "content": content}]}
        )
        response = await client.done(here)
        assert (response["metadata"], response["conversation_id"], response["status"]) == (
            {"n": "1"},
            None,
            "completed",
        )
        assert response["output"][0]["content"] == [{"type": "output_text", "text": "polite"}]
        assert client.of("conversation.item.added", here) == []
        assert (engine.turns[1].text, engine.turns[1].history) == ("is this polite?", ())
        here = client.here
        item_id = client.of("conversation.item.added")[0]["item"]["id"]
        await client.send("response.create", response=judge | {"input": [{"type": "item_reference", "id": item_id}]})
        await client.done(here)
        assert engine.turns[2].text == "talk to me"
        assert len(client.of("response.done")) == 2


async def test_history_is_given_ordered_deleted_and_read_back():
    engine = ScriptedS2s(say("ok"))
    async with serving(s2s(engine)) as server, connected(server) as client:
        await client.say("second", id="b")
        await client.send(
            "conversation.item.create",
            previous_item_id="b",
            item={
                "type": "message",
                "role": "assistant",
                "id": "c",
                "content": [{"type": "output_text", "text": "Yes."}],
            },
        )
        await client.send(
            "conversation.item.create",
            previous_item_id="root",
            item={
                "type": "message",
                "role": "system",
                "id": "a",
                "content": [{"type": "input_text", "text": "Be kind."}],
            },
        )
        await client.say("never mind", id="d")
        await client.send("conversation.item.delete", item_id="d")
        assert (await client.wait("conversation.item.deleted"))["item_id"] == "d"
        await client.ask("third")
        await client.done()
        (turn,) = engine.turns
        assert (turn.system_prompt, turn.text) == ("Be kind.", "third")
        assert [(past.user_text, past.assistant_text) for past in turn.history] == [("second", "Yes.")]
        previous = {event["item"]["id"]: event["previous_item_id"] for event in client.of("conversation.item.added")}
        assert (previous["a"], previous["b"], previous["c"]) == (None, None, "b")


async def test_silence_is_an_empty_transcript_and_no_response():
    def script(turn: TurnRequest):
        return [NothingHeard("no speech was heard")]

    engine = ScriptedS2s(script)
    engine.transcribe = _nothing
    async with serving(s2s(engine)) as server, connected(server) as client:
        await client.configure(audio={"input": {"transcription": TRANSCRIPTION}})
        await speak(client)
        kind = "conversation.item.input_audio_transcription.completed"
        assert (await client.wait(kind))["transcript"] == ""
        await until(lambda: len(engine.turns) == 1 and engine.live == 0)
        await asyncio.sleep(0.05)
        assert not [kind for kind in client.types() if kind.startswith("response.") or kind == "error"]
        await client.send("response.create")  # who asks for one is told how it ended
        assert (await client.done())["status_details"]["error"]["code"] == "nothing_heard"


async def _nothing(audio: Audio, client: str) -> str:
    return ""


async def test_an_answer_that_fails_is_a_failed_response_and_no_error():
    engine = ScriptedS2s(lambda turn: [EngineFailed("no luck")] if len(engine.turns) == 1 else say("ok")(turn))
    async with serving(s2s(engine)) as server, connected(server) as client:
        await client.ask("hi")
        failed = await client.done()
        assert failed["status"] == "failed"
        assert failed["status_details"]["error"] == {
            "type": "server_error",
            "code": "engine_failed",
            "message": "no luck",
        }
        here = client.here
        await client.send("response.create")  # the turn is still there
        assert (await client.done(here))["status"] == "completed"
        assert client.of("error") == []


async def test_an_unpaced_answer_is_there_at_once():
    app = s2s(ScriptedS2s(say(LONG, LONG, LONG)))
    async with serving(app) as server, connected(server, "?model=any&paced=false") as client:
        async with asyncio.timeout(15):  # of 30 s of speech
            await client.ask("read")
            await client.done()
        assert client.sound().seconds == pytest.approx(30.0, abs=0.1)


async def test_telephones_send_and_get_their_own_sound():
    engine = ScriptedS2s(say("Hello there."))
    phone = {"format": {"type": "audio/pcmu"}}
    async with serving(s2s(engine)) as server, connected(server) as client:
        await client.configure(audio={"input": {**phone, "turn_detection": None}, "output": phone})
        await client.send("input_audio_buffer.append", audio=base64.b64encode(b"\xff\x7f" * 4_000).decode())
        await client.send("input_audio_buffer.commit")
        await client.send("response.create")
        await client.done()
        assert engine.turns[0].audio.seconds == pytest.approx(1.0, abs=0.1)  # a converter holds some back
        data = b"".join(base64.b64decode(event["delta"]) for event in client.of("response.output_audio.delta"))
        assert len(data) == pytest.approx(0.6 * 8_000, abs=400)


async def test_the_words_of_the_user_belong_to_the_item_and_are_told_once_with_any_engine():
    engine = ScriptedS2s(lambda turn: [Heard("go forward"), TextDelta("ok")])
    async with serving(s2s(engine)) as server, connected(server) as client:
        await client.configure(audio={"input": {"transcription": TRANSCRIPTION}}, output_modalities=["text"])
        await speak(client)
        await client.done()
        await client.wait("conversation.item.input_audio_transcription.completed")
        (words,) = client.of("conversation.item.input_audio_transcription.completed")
        await client.send("conversation.item.retrieve", item_id=words["item_id"])
        found = (await client.wait("conversation.item.retrieved"))["item"]
        assert found["content"] == [{"type": "input_audio", "transcript": "go forward"}]


async def test_an_answer_that_its_limit_cut_is_incomplete_and_says_why():
    engine = ScriptedS2s(lambda turn: [*say("Once upon")(turn), *([LimitReached()] if turn.max_tokens else [])])
    async with serving(s2s(engine)) as server, connected(server) as client:
        updated = await client.by_hand(max_output_tokens=4)
        assert updated["max_output_tokens"] == 4
        await client.ask("a story")
        cut = await client.done()
        assert (cut["status"], cut["max_output_tokens"]) == ("incomplete", 4)
        assert cut["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}
        assert cut["output"][0]["status"] == "incomplete"
        here = client.here
        await client.ask("all of it", max_output_tokens="inf")
        whole = await client.done(here)
        assert (whole["status"], whole["max_output_tokens"]) == ("completed", "inf")
        assert [turn.max_tokens for turn in engine.turns] == [4, 0]
