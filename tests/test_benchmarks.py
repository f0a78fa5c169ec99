"""What the benchmarks say is worth only as much as how they measure: turns, ratios, peaks, tables."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from alone import alone
from bench import GROUPS
from rounds import ratios, take_turns, timed
from table import Goal, Table, compare, put_between
from video import count_frames, write_video

PROJECT = Path(__file__).resolve().parents[1]


def test_every_way_takes_one_turn_a_round_and_the_order_turns_around() -> None:
    log: list[str] = []
    ways = {name: (lambda name=name: log.append(name) or len(log)) for name in "abc"}
    results = take_turns(ways, 2, before=lambda: log.append("-"))
    assert "".join(log) == "-c-b-a-a-b-c-c-b-a"  # the first round only warms up
    assert results == {"a": [8, 18], "b": [10, 16], "c": [12, 14]}


def test_what_happens_before_a_turn_is_not_timed() -> None:
    seconds = take_turns({"quick": timed(lambda: None)}, 1, before=lambda: time.sleep(0.2))
    assert seconds["quick"][0] < 0.1


def test_ratios_are_taken_within_a_round() -> None:
    assert ratios([1.0, 4.0], [2.0, 4.0]) == [0.5, 1.0]
    with pytest.raises(ValueError, match="zip"):
        ratios([1.0], [1.0, 2.0])


def test_a_peak_is_that_of_the_command_and_not_of_who_measures_it() -> None:
    ballast = np.ones(600_000_000, dtype=np.uint8)  # this process is now larger than what it measures
    small = alone([sys.executable, "-c", "pass"]).peak_mb
    large = alone([sys.executable, "-c", "b = b'x' * 300_000_000"]).peak_mb
    assert small < 60
    assert large - small == pytest.approx(300, abs=10)
    assert ballast[-1] == 1


def test_a_command_that_fails_is_no_measurement() -> None:
    with pytest.raises(RuntimeError, match="no such thing"):
        alone([sys.executable, "-c", "raise SystemExit('no such thing')"])


@pytest.mark.parametrize(
    ("kind", "measured", "met"),
    [
        ("at most", [0.5, 1.0, 9.0], True),
        ("at most", [0.5, 1.1, 1.2], False),
        ("at least", [0.2, 1.0, 1.1], True),
        ("at least", [0.2, 0.9, 1.1], False),
        ("seconds more", [1.0], True),
        ("seconds more", [1.01], False),
        ("at most", [], False),
    ],
)
def test_the_median_decides_whether_a_goal_is_met(kind: str, measured: list[float], met: bool) -> None:
    goal = Goal(work="w", against="a", measured=measured, bound=1.0, kind=kind)
    assert goal.met is met
    assert goal.cells()[-1] == ("yes" if met else "**no**")


def test_a_table_has_every_way_its_ratio_and_what_was_not_measured() -> None:
    lines = compare({"plain": [2.0, 2.0, 4.0], "ours": [1.0, 3.0, 4.0]}, ["plain"])
    table = Table(columns=["way", "seconds", "ratio"], lines=lines, rounds=3, notes=["Not measured: it."])
    assert table.markdown().splitlines() == [
        "| way | seconds | ratio |",
        "| --- | --- | --- |",
        "| plain | 2.00 | 1.00 |",
        "| ours | 3.00 | 1.00 (0.50 to 1.50) |",
        "",
        "Not measured: it.",
        "",
        "3 rounds.",
    ]


def test_only_what_stands_between_the_marks_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("above\n<!-- a -->\nold\n<!-- /a -->\nbetween\n<!-- b -->\nkept\n<!-- /b -->\nbelow\n")
    assert put_between(page, "a", "new")
    expected = "above\n<!-- a -->\nnew\n<!-- /a -->\nbetween\n<!-- b -->\nkept\n<!-- /b -->\nbelow\n"
    assert page.read_text() == expected
    assert not put_between(page, "c", "lost")
    assert page.read_text() == expected


def test_the_page_has_a_place_for_every_group_and_no_other() -> None:
    places = sorted(["machine", *GROUPS])
    page = (PROJECT / "docs" / "speed.md").read_text()
    assert sorted(re.findall(r"<!-- (\w+) -->", page)) == places
    assert sorted(re.findall(r"<!-- /(\w+) -->", page)) == places


def test_the_video_that_is_made_has_as_many_frames_as_asked_for(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", 7)
    assert count_frames(tmp_path / "clip.mp4") == 7
