from web_demo.engines.s2s.funaudiochat import frames, prompt, tools
from web_demo.server import funaudiochat_infer


def test_what_is_named_here_is_what_the_engine_uses() -> None:
    for name in funaudiochat_infer.__all__:
        places = [place for place in (prompt, frames, tools) if name in vars(place)]
        assert getattr(funaudiochat_infer, name) is getattr(places[0], name)
