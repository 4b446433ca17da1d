"""When a bound is broken."""

from dataclasses import replace

from scripts.benchmarks.attacks import GROWS_MB, LEFT_MB, Measured, broken
from scripts.benchmarks.load.scene import ATTACKS, Attack, Scene


async def nothing(scene: Scene) -> None:
    return


ATTACK = Attack("C0", "nothing", "", nothing, frozenset({"400", "429"}), {"asr": 200.0})


def measured(
    turn_s: float = 0.5, *, wrong: tuple[str, ...] = (), grew: float = 0.0, left: float = 0.0, saw: str = "400"
) -> Measured:
    others = {"transcription": [0.5], "synthesis": [0.01]}
    quiet, beside = {"turn": [0.5, 0.5, 9.0], **others}, {"turn": [turn_s], **others}
    return Measured(quiet, beside, list(wrong), {"asr": grew}, {"asr": left}, {saw: 3})


def test_an_attack_that_nobody_notices_breaks_nothing():
    assert broken(ATTACK, [measured(grew=199.0, left=LEFT_MB)], speed=True) == []


def test_twice_the_quiet_time_is_the_bound_and_the_median_of_the_runs_decides():
    assert broken(ATTACK, [measured(1.01)], speed=True) == ["turn"]
    assert broken(ATTACK, [measured(1.01), measured(0.9), measured(5.0)], speed=True) == ["turn"]
    assert broken(ATTACK, [measured(1.01), measured(0.9), measured(0.6)], speed=True) == []
    assert broken(ATTACK, [measured(5.0)], speed=False) == []


def test_a_difference_that_nobody_notices_is_none():
    run = measured()
    run.beside["synthesis"] = [0.1]  # ten times as long, and a tenth of a second
    assert broken(ATTACK, [run], speed=True) == []
    run.beside["synthesis"] = [0.12]
    assert broken(ATTACK, [run], speed=True) == ["synthesis"]


def test_a_wrong_answer_memory_and_what_the_attackers_saw_break_it_at_once():
    assert broken(ATTACK, [measured(wrong=("turn: refused",))], speed=False) == ["turn: refused"]
    assert broken(ATTACK, [measured(grew=201.0)], speed=False) == ["grew asr"]
    assert broken(replace(ATTACK, grows_mb={}), [measured(grew=GROWS_MB + 1)], speed=False) == ["grew asr"]
    assert broken(ATTACK, [measured(left=LEFT_MB + 1)], speed=False) == ["left asr"]
    assert broken(ATTACK, [measured(saw="500")], speed=False) == ["saw 500"]


def test_an_accident_may_disturb_others_while_it_lasts():
    accident = replace(ATTACK, slows=True)
    assert broken(accident, [measured(5.0, wrong=("turn: refused",))], speed=True) == []


def test_every_row_of_the_list_has_its_attack():
    assert {attack.row for attack in ATTACKS.values()} == {
        *("C1", "C2", "C3", "C4", "H1", "H2", "H3", "H4", "M1", "M2", "M3", "M4", "M6", "M7", "L"),
    }
