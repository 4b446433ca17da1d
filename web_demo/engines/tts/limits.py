"""What a request may ask of an engine, by what the engine declares."""

from __future__ import annotations

from web_demo.engines.base import Capabilities, SpeechRequest
from web_demo.errors import InvalidRequest


def check(request: SpeechRequest, engine: str, can: Capabilities) -> None:
    """Raises InvalidRequest for a speed, a recording or an instruction that `engine` cannot follow."""
    check_speed(request.speed, can)
    if request.prompt is not None and not can.cloning:
        raise InvalidRequest(
            f"the {engine} engine cannot speak with the voice of a recording; that needs --engine cosyvoice3"
        )
    if request.instruction and not can.instructions:
        raise InvalidRequest(f"the {engine} engine cannot be told how to speak; that needs --engine cosyvoice3")


def check_speed(speed: float, can: Capabilities, came: object = None) -> None:
    """`came`: what the client had sent for it."""
    slowest, fastest = can.speeds
    if not slowest <= speed <= fastest:  # false for NaN
        got = speed if came is None else came
        raise InvalidRequest(
            f"speed must be a number from {slowest:.3g} to {fastest:.3g}, got {got!r:.50}", param="speed"
        )
