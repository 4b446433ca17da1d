"""Streaming inference with Fun-Audio-Chat, the part without a model: a turn to messages, frames to steps. Pure.

The address of it that is agreed on; it is done beside the engine, in `web_demo/engines/s2s/funaudiochat/`.
"""

from web_demo.engines.s2s.funaudiochat.frames import Reply, TextStream
from web_demo.engines.s2s.funaudiochat.prompt import (
    Message,
    conversation,
    generation_settings,
    system_message,
    without_special_tokens,
)
from web_demo.engines.s2s.funaudiochat.tools import may_be_tool_call, tool_calls, tool_settings

__all__ = [
    "Message",
    "Reply",
    "TextStream",
    "conversation",
    "generation_settings",
    "may_be_tool_call",
    "system_message",
    "tool_calls",
    "tool_settings",
    "without_special_tokens",
]
