"""What results are called. Pure."""

import unicodedata

from web_demo.archive.names import stems
from web_demo.archive.stages import Entry
from web_demo.archive.stores import MAX_NAME_BYTES, shown

SUFFIXES = (".json", ".srt")


def named(*insides: str, known: dict[str, str] | None = None) -> list[str]:
    entries = [Entry(f"/in/{inside}", shown(f"/in/{inside}"), inside, 1, "") for inside in insides]
    return stems(entries, known or {}, SUFFIXES)


def test_a_result_is_called_as_its_recording_without_the_suffix():
    assert named("a.wav", "folder/b.c.mp3", "no suffix") == ["a", "folder/b.c", "no suffix"]


def test_a_name_that_is_taken_keeps_its_suffix():
    assert named("a.mp3", "a.wav", "A.ogg") == ["a", "a.wav", "A.ogg"]


def test_three_that_differ_in_case_alone_have_three_names():
    found = named("a.wav", "A.wav", "a.WAV")
    assert len({name.casefold() for name in found}) == 3


def test_the_same_letters_in_other_compositions_are_the_same_name():
    composed, apart = "é.wav", unicodedata.normalize("NFD", "é.wav")
    assert composed != apart
    first, second = named(composed, apart)
    assert unicodedata.normalize("NFC", first) != unicodedata.normalize("NFC", second)


def test_names_of_earlier_runs_stay_when_a_neighbour_comes():
    assert named("a.mp3", "a.wav", known={"/in/a.wav": "a"}) == ["a.mp3", "a"]


def test_no_name_leads_out_of_the_output():
    assert named("../../etc/a.wav", "/b.wav", "./c.wav") == ["etc/a", "b", "c"]


def test_very_long_names_fit_with_their_suffix_and_stay_apart():
    long = "长" * 90
    found = named(f"{long}a.wav", f"{long}b.wav", f"{long * 2}/c.wav")
    assert len(set(found)) == 3
    assert all(len(part.encode()) + len(".json") <= MAX_NAME_BYTES for name in found for part in name.split("/")[-1:])
    assert all(len(part.encode()) <= MAX_NAME_BYTES for name in found for part in name.split("/"))


def test_bytes_that_are_no_letters_get_a_name_that_can_be_written():
    (name,) = named(b"caf\xe9.wav".decode("utf-8", "surrogateescape"))
    assert name == "caf\\xe9"
