from pathlib import Path

from scripts.operations import logs


def write(path: Path, text: str) -> None:
    with logs.open_for_service(path) as file:
        file.write(text.encode())


def test_each_start_has_a_log_of_its_own_and_the_last_ones_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "server.log"
    for number in range(logs.KEPT + 3):
        write(path, f"start {number}")
    assert path.read_text() == "start 7"
    assert (tmp_path / "logs" / "server.log.1").read_text() == "start 6"
    assert sorted(item.name for item in path.parent.iterdir()) == [
        "server.log",
        *(f"server.log.{i}" for i in range(1, 6)),
    ]


def test_a_log_that_is_truncated_while_it_is_written_does_not_grow_a_hole(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    with logs.open_for_service(path) as file:
        file.write(b"before the rotation\n")
        path.write_bytes(b"")  # what logrotate's copytruncate does
        file.write(b"after\n")
    assert path.read_bytes() == b"after\n"


def test_the_tail_is_the_last_lines_of_a_long_log(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    path.write_text("\n".join(f"line {number}" for number in range(100_000)))
    assert logs.tail(path, lines=2) == "line 99998\nline 99999"
    assert logs.tail(tmp_path / "absent.log") == ""
