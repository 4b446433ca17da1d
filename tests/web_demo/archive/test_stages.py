"""Batches of parts, and results of many entries brought into the order of each. Pure."""

from tests.web_demo.archive.fakes import Capitals
from web_demo.archive.stages import Assembly, Batches, Ended, Entry, Failed, Part, Result, Task, Written, grouped


def task(number: int, size: int = 1) -> Task:
    return Task(number, Entry(f"{number}.txt", f"{number}.txt", f"{number}.txt", size, ""), str(number))


def assembly(count: int = 2) -> Assembly:
    return Assembly(Capitals(), {number: task(number) for number in range(count)})


def text(made: Written | Failed | None) -> str:
    assert isinstance(made, Written)
    content = made.files["txt"]
    assert isinstance(content, bytes)
    return content.decode()


def batches(most_s: float, *items) -> list[list]:
    gathered = Batches(most_s)
    return [list(batch) for item in items for batch in gathered.add(item)] + [list(batch) for batch in gathered.end()]


def test_a_batch_has_parts_of_many_entries_up_to_its_seconds():
    parts = [Part(number, 0, 4.0, None) for number in range(3)]
    assert batches(8.0, *parts) == [parts[:2], parts[2:]]


def test_a_part_that_is_longer_than_a_batch_is_one_alone():
    parts = [Part(0, 0, 1.0, None), Part(0, 1, 99.0, None), Part(0, 2, 1.0, None)]
    assert batches(8.0, *parts) == [[part] for part in parts]


def test_the_end_of_an_entry_costs_nothing_and_is_not_lost():
    parts, ended = [Part(0, 0, 8.0, None), Part(1, 0, 8.0, None)], Ended(0, 1)
    assert batches(8.0, parts[0], ended, parts[1]) == [[parts[0], ended], [parts[1]]]
    assert batches(8.0, ended) == [[ended]]


def test_results_that_come_in_any_order_are_joined_in_theirs():
    taken = assembly()
    assert taken.take(Ended(0, 3)) is None
    assert taken.take(Result(0, 2, "c", 0.0)) is None
    assert taken.take(Result(0, 0, "a", 0.0)) is None
    assert text(taken.take(Result(0, 1, "b", 0.0))) == "a\nb\nc"


def test_an_entry_without_parts_is_whole_at_its_end():
    assert text(assembly().take(Ended(0, 0))) == ""


def test_what_comes_a_second_time_changes_nothing():
    taken = assembly()
    for _ in range(2):
        assert taken.take(Result(0, 0, "a", 0.0)) is None
        assert taken.take(Result(0, 2, "c", 0.0)) is None
        assert taken.take(Ended(0, 3)) is None
    assert text(taken.take(Result(0, 1, "b", 0.0))) == "a\nb\nc"
    assert taken.take(Result(0, 1, "b", 0.0)) is None
    assert taken.take(Ended(0, 3)) is None


def test_an_entry_fails_once_whatever_else_comes_of_it():
    taken = assembly()
    taken.take(Result(0, 0, "a", 0.0))
    assert taken.take(Failed(0, "why")) == Failed(0, "why")
    assert [taken.take(item) for item in (Failed(0, "again"), Ended(0, 1), Result(0, 0, "a", 0.0))] == [None] * 3
    assert text(taken.take(Ended(1, 0))) == ""  # the others go on


def test_small_entries_are_grouped_and_large_ones_are_alone():
    tasks = [task(0, 3), task(1, 3), task(2, 3), task(3, 100), task(4, 3)]
    assert [[each.number for each in group] for group in grouped(tasks, 2, 10)] == [[0, 1], [2], [3], [4]]
