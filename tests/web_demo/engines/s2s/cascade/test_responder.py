"""What the embedded engine answers: built in, and through an OpenAI-compatible server on a real socket."""

import asyncio
import datetime
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from tests.speech import recording
from tests.talk import s2s, serving, talking, tone
from tests.web_demo.server.asr.helpers import ScriptedAsr
from tests.web_demo.server.tts.fakes import ToneTts
from web_demo.engines.base import (
    Exchange,
    Heard,
    LimitReached,
    SpeechText,
    ToolCall,
    ToolExchange,
    ToolResult,
    TurnRequest,
)
from web_demo.engines.s2s.cascade.built_in import BuiltInResponder
from web_demo.engines.s2s.cascade.engine import CascadeS2s
from web_demo.engines.s2s.cascade.language_model import LlmResponder, messages
from web_demo.engines.s2s.cascade.limited import LimitedResponder
from web_demo.errors import EngineFailed, SetupError
from web_demo.server.protocal import AudioData, Metadata

NOON = datetime.datetime(2026, 3, 1, 12, 5, tzinfo=datetime.UTC)


def turn(**fields) -> TurnRequest:
    return TurnRequest(turn_id="t", conversation_id="c", audio=tone(0.1, 16_000), **fields)


async def said(responder, heard: str, request: TurnRequest | None = None) -> str:
    return "".join([delta async for delta in responder.reply(heard, request or turn())])


@pytest.mark.parametrize(
    ("heard", "answer"),
    [
        ("go forward ten meters", "You said: go forward ten meters."),
        ("hello", "Hello!"),
        ("hi there", "Hello!"),
        ("who are you", "embedded stand-in"),
        ("what is your name", "embedded stand-in"),
        ("what time is it", "12:05 PM"),
        ("tell me the date", "Sunday, March 1, 2026"),
        ("help", "I repeat what I hear"),
        ("thank you", "welcome"),
        ("good bye", "Goodbye"),
        ("this is something he said", "You said: this is something he said."),
    ],
)
async def test_it_answers_what_a_newcomer_tries(heard, answer):
    assert answer in await said(BuiltInResponder(lambda: NOON), heard)


async def test_it_says_what_it_is_once():
    request = turn(history=(Exchange("go forward", "You said: go forward."),))
    assert "stand-in" in await said(BuiltInResponder(), "go forward")
    assert "stand-in" not in await said(BuiltInResponder(), "go forward", request)


async def test_it_speaks_chinese_to_those_who_asked_for_it():
    assert "你说的是：go forward。" in await said(BuiltInResponder(), "go forward", turn(language="zh"))
    english_ears = BuiltInResponder(lambda: NOON, languages=("en",))
    assert await said(english_ears, "what time is it", turn(language="zh")) == "现在是中午12点5分。"
    answer = await said(english_ears, "go forward", turn(language="zh"))
    assert "说“help”" in answer
    assert "我只听得懂英文。运行 download_models.sh" in answer


@pytest.mark.parametrize(
    ("heard", "answer"),
    [
        ("你好。", "你好！我听到你说：你好。"),
        ("您好，请问现在几点了？", "现在是中午12点5分。"),
        ("现在是什么时间", "现在是中午12点5分。"),
        ("今天几号", "今天是2026年3月1日，星期日。"),
        ("今天是星期几？", "今天是2026年3月1日，星期日。"),
        ("你是谁呀？", "我是 Fun Audio Chat 的内置替身"),
        ("你叫什么名字", "我是 Fun Audio Chat 的内置替身"),
        ("請問妳是誰", "我是 Fun Audio Chat 的内置替身"),
        ("你会做什么？", "我会重复我听到的话"),
        ("帮助。", "我会重复我听到的话"),
        ("谢谢你！", "不客气。"),
        ("再见。", "再见！"),
        ("向前走十米。", "你说的是：向前走十米。"),
        ("把灯打开", "说“帮助”"),
    ],
)
async def test_who_speaks_chinese_is_answered_in_chinese_whatever_the_page_speaks(heard, answer):
    for own in ("en", "zh"):
        assert answer in await said(BuiltInResponder(lambda: NOON, languages=("zh", "en")), heard, turn(language=own))


@pytest.mark.parametrize(
    ("hour", "minute", "said_as"),
    [
        (0, 0, "凌晨0点整"),
        (6, 30, "早上6点30分"),
        (11, 5, "上午11点5分"),
        (15, 0, "下午3点整"),
        (23, 59, "晚上11点59分"),
    ],
)
async def test_the_time_in_chinese_is_as_people_say_it(hour, minute, said_as):
    now = NOON.replace(hour=hour, minute=minute)
    assert await said(BuiltInResponder(lambda: now), "几点了") == f"现在是{said_as}。"


def test_a_chat_has_the_system_prompt_the_history_and_what_was_heard():
    history = (Exchange("one", "first"), Exchange("two", ""))
    chat = messages("three", turn(system_prompt="Be brief.", history=history))
    system, *rest = ((part["role"], part["content"]) for part in chat)
    assert rest == [("user", "one"), ("assistant", "first"), ("user", "two"), ("user", "three")]
    assert system[0] == "system"


def test_a_side_that_is_missing_has_no_message_and_calls_stand_before_their_answer():
    calls = ToolExchange((ToolCall("1", "get_weather", {"city": "Paris"}),), (ToolResult("1", "sunny"),))
    history = (Exchange("", "Welcome."), Exchange("hi", ""), Exchange("how is it", "Sunny.", None, (calls,)))
    roles = [message["role"] for message in messages("", turn(history=history))]
    assert roles == ["system", "assistant", "user", "user", "assistant", "tool", "assistant"]


async def test_unasked_it_says_who_it_is():
    assert "stand-in" in await said(BuiltInResponder(), "")


def test_how_to_speak_is_added_to_any_prompt_where_the_answer_is_spoken():
    def system(**fields) -> str:
        return str(messages("x", turn(**fields))[0]["content"])

    assert system(system_prompt="Be a pirate.").startswith("Be a pirate.\n\nYour words are spoken aloud")
    assert system().startswith("You are a friendly voice assistant.\n\nYour words are spoken aloud")
    assert "会被读出来" in system(system_prompt="你是海盗。", language="zh")
    assert "spoken aloud" not in system(system_prompt="Be a pirate.", speech=False)


def test_called_functions_and_their_results_follow_what_was_heard():
    calls = (ToolCall("a", "weather", {"city": "杭州"}), ToolCall("b", "weather", {}))
    results = (ToolResult("b", "rain"), ToolResult("a", "sun"))
    *_, assistant, first, second = messages("weather?", turn(tool_exchanges=(ToolExchange(calls, results),)))
    assert [call["id"] for call in assistant["tool_calls"]] == ["a", "b"]
    assert json.loads(assistant["tool_calls"][0]["function"]["arguments"]) == {"city": "杭州"}
    assert (first["role"], first["tool_call_id"], first["content"]) == ("tool", "a", "sun")
    assert (second["role"], second["tool_call_id"], second["content"]) == ("tool", "b", "rain")


@asynccontextmanager
async def chat_server(
    deltas: Sequence[str | dict],
    status: int = 200,
    models: tuple[str, ...] = ("tiny",),
    *,
    finish: str | None = "stop",
    refuses: str = "",
    hold: asyncio.Event | None = None,
    breaks: bool = False,
) -> AsyncIterator[tuple]:
    """Streams `deltas`, texts or whole delta objects; after the first of them it waits for `hold`. A request with the field
    `refuses` gets 400; `breaks`: it hangs up at the end."""
    asked: list[dict] = []

    async def complete(request: web.Request) -> web.StreamResponse:
        asked.append({**await request.json(), "authorization": request.headers["Authorization"]})
        if refuses and refuses in asked[-1]:
            other = {"max_tokens": "max_completion_tokens"}.get(refuses, "max_tokens")
            message = f"Unsupported parameter: '{refuses}' is not supported with this model. Use '{other}' instead."
            return web.json_response({"error": {"message": message, "param": refuses}}, status=400)
        if status != 200:
            return web.json_response({"error": {"message": "out of order"}}, status=status)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number, delta in enumerate((*deltas, {})):
            if number == 1 and hold is not None:
                await hold.wait()
            content = {"content": delta} if isinstance(delta, str) else delta
            ending = finish if number == len(deltas) else None
            chunk = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "tiny"}
            chunk["choices"] = [{"index": 0, "delta": content, "finish_reason": ending}]
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
        if breaks:
            request.transport.abort()
            return response
        await response.write(b'data: {"id": "1", "choices": [], "usage": {"total_tokens": 3}}\n\n')
        await response.write(b"data: [DONE]\n\n")
        return response

    async def offered(request: web.Request) -> web.Response:
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "us"} for name in models]
        return web.json_response({"object": "list", "data": data})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", complete)
    app.router.add_get("/v1/models", offered)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1", asked
    finally:
        await runner.cleanup()


@asynccontextmanager
async def responder(url: str, model: str = "", api_key: str = "", **options):
    made = LlmResponder(url, model, api_key, **options)
    await made.start()
    try:
        yield made
    finally:
        await made.close()


async def test_a_language_model_s_words_come_as_it_streams_them():
    async with chat_server(["Ahoy", ", ", "sailor."]) as (url, asked), responder(url, "", "k3y") as llm:
        assert llm.name == "tiny"
        assert [delta async for delta in llm.reply("hello", turn(system_prompt="Be a pirate."))] == [
            "Ahoy",
            ", ",
            "sailor.",
        ]
        assert asked[0]["model"] == "tiny"
        assert asked[0]["authorization"] == "Bearer k3y"
        assert asked[0]["messages"][0]["content"].startswith("Be a pirate.")


async def test_a_language_model_that_fails_ends_the_turn_with_a_safe_message():
    async with chat_server([], status=400) as (url, _), responder(url, "tiny", "k3y") as llm:
        with pytest.raises(EngineFailed, match="status 400") as failed:
            await said(llm, "hello")
        assert "k3y" not in str(failed.value)


async def test_an_endpoint_without_models_cannot_be_started_with():
    async with chat_server([], models=()) as (url, _):
        with pytest.raises(SetupError, match="--llm-model"):
            await LlmResponder(url, "", "").start()
    with pytest.raises(SetupError, match="--llm-base-url"):
        await LlmResponder("http://127.0.0.1:9/v1", "", "").start()


THINKING = ["<thi", "nk>\nThe user greets", " me.</thin", "k>\n\n", "Ahoy, ", "sailor."]
ONLY_THOUGHT = "I thought about that and came to no answer. Please ask again, perhaps in a simpler way."
WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}}  # as the Realtime protocol has it


@pytest.mark.parametrize(
    "deltas",
    [
        THINKING,
        [{"reasoning": "The user greets"}, {"reasoning": " me.", "content": ""}, "Ahoy, ", "sailor."],
        [{"reasoning_content": "The user greets me.", "content": None}, "Ahoy, sailor."],
        [{"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]}, "Ahoy, sailor."],
        [{"content": [{"type": "text", "text": "Ahoy, "}]}, "sailor."],
        [{"refusal": "Ahoy, "}, {"refusal": "sailor."}],
    ],
)
async def test_thoughts_are_no_part_of_the_answer_wherever_the_server_puts_them(deltas):
    async with chat_server(deltas) as (url, _), responder(url, "qwen3:4b") as llm:
        assert await said(llm, "hello") == "Ahoy, sailor."


async def test_the_first_words_do_not_wait_for_the_rest():
    hold = asyncio.Event()
    async with chat_server(["<think>x</think>First. ", "Second."], hold=hold) as (url, _), responder(url, "a") as llm:
        reply = llm.reply("hello", turn())
        assert await anext(reply) == "First. "
        hold.set()
        assert [delta async for delta in reply] == ["Second."]


@pytest.mark.parametrize(
    ("deltas", "finish", "words"),
    [
        (["<think>Well, let me"], "length", ONLY_THOUGHT),
        (["<think>All is said.</think>"], "stop", ONLY_THOUGHT),
        ([{"reasoning": "Well, let me"}], "length", ONLY_THOUGHT),
        ([], "stop", "I have no answer to that. Please ask again."),
        ([" \n"], None, "I have no answer to that. Please ask again."),
        ([], "content_filter", "I am not allowed to answer that."),
        (["Once upon a"], "length", "Once upon a… That is as far as I can go in one answer."),
        (["The end. "], "length", "The end. That is as far as I can go in one answer."),
    ],
)
async def test_an_answer_without_words_or_cut_by_the_limit_ends_in_words(deltas, finish, words):
    async with chat_server(deltas, finish=finish) as (url, _), responder(url, "tiny") as llm:
        assert await said(llm, "hello") == words
        assert "\u4e00" <= (await said(llm, "hello", turn(language="zh")))[-2] <= "\u9fff"


async def test_thoughts_that_open_in_the_prompt_are_never_read_out_whatever_the_model_is_called():
    async with chat_server(["Okay, the user", " greets.</think>", "Ahoy."]) as (url, _):
        async with responder(url, "Qwen3-4B-Thinking-2507") as llm:
            assert await said(llm, "hello") == "Ahoy."
        async with responder(url, "tiny") as llm:
            assert await said(llm, "hello") == "Ahoy."
            assert await said(llm, "hello") == "Ahoy."


async def test_a_reply_of_calls_alone_tells_nothing_of_how_a_model_thinks():
    call = {"tool_calls": [{"index": 0, "id": "1", "function": {"name": "weather", "arguments": "{}"}}]}
    deltas: list = [call]
    async with chat_server(deltas) as (url, _), responder(url, "tiny") as llm:
        async for _delta in llm.reply("hello", turn(tools=({"name": "weather"},))):
            pass
        deltas[:] = ["Okay, the user", " greets.</think>", "Ahoy."]
        assert await said(llm, "hello") == "Ahoy."


async def test_a_held_thought_that_the_limit_cuts_off_is_not_read_out():
    async with chat_server(["Okay, the user"], finish="length") as (url, _), responder(url, "QwQ-32B") as llm:
        assert await said(llm, "hello") == ONLY_THOUGHT


@pytest.mark.parametrize(("model", "first"), [("deepseek-r1", "Ahoy. "), ("tiny", "Okay. ")])
async def test_a_model_that_does_not_think_is_held_once_only(model, first):
    hold = asyncio.Event()
    async with chat_server([first, "Sailor."], hold=hold) as (url, _), responder(url, model) as llm:
        hold.set()
        assert await said(llm, "hello") == f"{first}Sailor."
        hold.clear()
        reply = llm.reply("hello", turn())
        assert await anext(reply) == first
        hold.set()
        assert [delta async for delta in reply] == ["Sailor."]


@pytest.mark.parametrize("refused", ["max_tokens", "max_completion_tokens"])
async def test_the_limit_goes_in_the_field_that_the_server_takes(refused):
    other = {"max_tokens": "max_completion_tokens"}.get(refused, "max_tokens")
    async with (
        chat_server(["Ahoy."], refuses=refused) as (url, asked),
        responder(url, "tiny", max_tokens=77) as llm,
    ):
        assert await said(llm, "hello") == "Ahoy."
        assert await said(llm, "hello") == "Ahoy."
        assert [request.get(other) for request in asked][-2:] == [77, 77]
        assert [refused in request for request in asked][-2:] == [False, False]


async def test_the_client_s_limit_goes_along_where_it_is_the_lower_one_and_its_end_is_said_without_words():
    async with chat_server(["Once upon a"], finish="length") as (url, asked), responder(url, max_tokens=77) as llm:
        parts = [part async for part in llm.reply("hello", turn(max_tokens=5))]
        assert parts == ["Once upon a", LimitReached()]
        assert "as far as I can go" in await said(llm, "hello", turn(max_tokens=500))
        assert [request["max_tokens"] for request in asked] == [5, 77]


@pytest.mark.parametrize(
    ("tokens", "parts"),
    [
        (0, ["You said: 你好.", " And more."]),
        (2, ["You said:", LimitReached()]),
        (5, ["You said: 你好.", "", LimitReached()]),
        (6, ["You said: 你好.", " And", LimitReached()]),
        (7, ["You said: 你好.", " And more."]),
    ],
)
async def test_what_cannot_be_told_how_much_to_write_is_cut_at_a_word(tokens, parts):
    class Two(BuiltInResponder):
        async def reply(self, heard, turn):
            yield "You said: 你好."
            yield " And more."

    assert [part async for part in LimitedResponder(Two()).reply("", turn(max_tokens=tokens))] == parts


async def test_options_of_the_server_s_own_go_along():
    extra = {"reasoning_effort": "none", "chat_template_kwargs": {"enable_thinking": False}}
    async with chat_server(["Ahoy."]) as (url, asked), responder(url, "tiny", extra=extra) as llm:
        await said(llm, "hello")
        assert {key: asked[0][key] for key in extra} == extra


async def test_functions_are_offered_and_calls_come_back_whole():
    fragments = [
        {"content": "Let me look. "},
        {"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "weather", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"city": '}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '"Paris"}'}}]},
        {"tool_calls": [{"index": 1, "id": "c1", "function": {"name": "weather", "arguments": "{}"}}]},
        {"tool_calls": [{"id": "c2", "function": {"name": "weather", "arguments": ""}}]},
        {"tool_calls": [{"index": 7, "id": "c3", "function": {"name": "erase_disk", "arguments": "{}"}}]},
        {"tool_calls": [{"index": 8, "id": "c4", "function": {"name": "weather", "arguments": "{"}}]},
    ]
    async with chat_server(fragments, finish="tool_calls") as (url, asked), responder(url, "tiny") as llm:
        steps = [step async for step in llm.reply("weather?", turn(tools=(WEATHER,)))]
    assert asked[0]["tools"] == [
        {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    ]
    text, *calls = steps
    assert text == "Let me look. "
    assert [(call.name, call.arguments) for call in calls] == [("weather", {"city": "Paris"})] + [("weather", {})] * 2
    assert len({call.call_id for call in calls}) == 3


async def test_calls_that_a_model_writes_into_its_text_are_calls():
    deltas = ["<tool", '_call>{"name": "weather", "arguments": {"city": "Paris"}}</tool', "_call>"]
    async with chat_server(deltas) as (url, _), responder(url, "tiny") as llm:
        steps = [step async for step in llm.reply("weather?", turn(tools=(WEATHER,)))]
    assert [(call.name, call.arguments) for call in steps] == [("weather", {"city": "Paris"})]


@pytest.mark.parametrize(
    ("choice", "asked"),
    [("required", "required"), ("get_weather", {"type": "function", "function": {"name": "get_weather"}})],
)
async def test_a_call_can_be_demanded_until_its_result_is_there(choice, asked):
    tools = ({"name": "get_weather", "parameters": {"type": "object"}},)
    exchange = ToolExchange((ToolCall("1", "get_weather", {}),), (ToolResult("1", "sunny"),))
    async with chat_server(["ok"]) as (url, requests), responder(url, "tiny") as llm:
        await said(llm, "weather", turn(tools=tools, tool_choice=choice))
        await said(llm, "weather", turn(tools=tools, tool_choice=choice, tool_exchanges=(exchange,)))
    assert [request.get("tool_choice") for request in requests] == [asked, None]


async def test_what_cannot_be_called_is_not_offered_and_a_model_that_takes_no_functions_is_told_of():
    async with chat_server(["Hi."], refuses="tools") as (url, asked), responder(url, "tiny") as llm:
        assert await said(llm, "hello", turn(tools=({"type": "function"}, {"function": 3}))) == "Hi."
        assert "tools" not in asked[0]
        with pytest.raises(EngineFailed, match="takes no functions"):
            await said(llm, "hello", turn(tools=(WEATHER,)))


async def test_after_many_rounds_of_calls_the_model_has_to_answer():
    rounds = (ToolExchange((ToolCall("a", "weather", {}),), (ToolResult("a", "sun"),)),) * 4
    async with chat_server(["Sunny."]) as (url, asked), responder(url, "tiny") as llm:
        await said(llm, "weather?", turn(tools=(WEATHER,), tool_exchanges=rounds))
    assert "tools" not in asked[0]


async def test_a_server_that_breaks_off_ends_the_turn_in_words():
    async with chat_server(["Once upon"], breaks=True) as (url, _), responder(url, "tiny") as llm:
        with pytest.raises(EngineFailed, match="please ask again"):
            await said(llm, "hello")


@pytest.mark.long
async def test_the_readme_s_example_talks_with_a_thinking_model():
    """Human speech in; the answer is spoken, shown and remembered without its thoughts."""
    async with (
        chat_server([*THINKING, " **Welcome** aboard!"]) as (url, asked),
        serving(s2s(llm_base_url=url, llm_model="qwen3:4b")) as server,
        talking(server) as talker,
    ):
        await talker.ask(recording("go_forward_ten_meters"))
        end = await talker.final()
        assert talker.texts()[-1] == "\n[Final: Ahoy, sailor. **Welcome** aboard!]"
        assert talker.sound().seconds > 1.0
        await talker.start()
        await talker.ask(recording("cards_001"))
        await talker.final(end)
    second = asked[1]["messages"]
    assert [part["role"] for part in second] == ["system", "user", "assistant", "user"]
    assert second[2]["content"].startswith("Ahoy, sailor.")
    assert "greets" not in json.dumps(second)


async def test_a_function_is_called_and_answered_over_the_wire_and_the_turn_is_heard_once():
    class Once(BuiltInResponder):
        async def reply(self, heard, request):
            if request.tool_exchanges:
                yield f"It is {request.tool_exchanges[0].results[0].content}."
            else:
                yield ToolCall("c1", "weather", {"city": "Paris"})

    async with serving(s2s()) as server, talking(server) as talker:
        engine = server.service.engine
        engine._responder = Once()
        transcribe, heard = engine._recogniser.transcribe, []

        async def counted(audio, **options):
            heard.append(audio)
            return await transcribe(audio, **options)

        engine._recogniser.transcribe = counted
        await talker.configure(tools=[WEATHER])
        await talker.ask(recording("go_forward_ten_meters"))
        assert (await talker.event("tool_call"))["name"] == "weather"
        end = await talker.final()
        assert not any(isinstance(message, AudioData) for message in talker.messages())  # a call is no speech
        await talker.send(Metadata({"tool_results": [{"id": "c1", "content": "sunny"}]}))
        await talker.final(end)
        assert talker.texts()[-1] == "\n[Final: It is sunny.]"
        assert len(heard) == 1


async def test_what_is_written_needs_no_recogniser_and_sound_is_recognised_once_however_often_it_is_asked_for():
    class Ears(ScriptedAsr):
        async def transcribe(self, audio, **options):
            await asyncio.sleep(0)
            return await super().transcribe(audio, **options)

    ears = Ears()
    engine = CascadeS2s(ears, BuiltInResponder(), ToneTts())
    sound = tone(0.5, 16_000)
    written = [step async for step in engine.respond(TurnRequest("t", "c", text="hello"))]
    assert not [step for step in written if isinstance(step, Heard)]
    assert ears.asked == []
    history = (Exchange("", "", sound),)  # never answered
    beside, steps = await asyncio.gather(
        engine.transcribe(sound), _steps(engine, TurnRequest("t", "c", sound, "", history))
    )
    assert [step.text for step in steps if isinstance(step, Heard)] == [beside]
    assert len(ears.asked) == 1


@pytest.mark.parametrize(("asked", "given"), [("", "中文男"), ("nobody", "中文男"), ("中文女", "中文女")])
async def test_an_answer_has_the_voice_that_is_asked_for_where_there_is_one(asked, given):
    engine = CascadeS2s(ScriptedAsr(), BuiltInResponder(), ToneTts(), "中文男")
    steps = await _steps(engine, TurnRequest("t", "c", text="hello", voice=asked))
    assert {step.voice for step in steps if isinstance(step, SpeechText)} == {given}


async def _steps(engine, request):
    return [step async for step in engine.respond(request)]
