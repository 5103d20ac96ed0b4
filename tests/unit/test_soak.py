"""The arithmetic of a soak, and its report; a short one of a real stack is in tests/acceptance/test_soak.py."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from bench.__main__ import main
from bench.soak import report
from bench.soak.result import BYTES, COUNT, Kind, Series, Soak

pytestmark = pytest.mark.slow

MINUTES = 10.0
MB = 1_000_000


def series(value: Callable[[float], float], unit: str = BYTES, every: float = 10.0) -> Series:
    """Return a series of ten minutes; `value` is given the seconds."""
    made = Series("api", "RSS" if unit == BYTES else "threads", unit)
    for number in range(int(MINUTES * 60 / every)):
        made.add(number * every, value(number * every))
    return made


def noise(second: float) -> float:
    """Return -1 or 1, in turn."""
    return 1 if second / 10 % 2 else -1


def test_the_slope_is_per_hour_and_leaves_the_first_tenth_out() -> None:
    leak = series(lambda second: 500 * MB if second < 60 else 100 * MB + second * 1000)
    assert leak.slope(MINUTES * 60) == pytest.approx(3_600_000)


@pytest.mark.parametrize(
    ("grows", "value", "unit"),
    [
        (False, lambda second: 100 * MB, BYTES),
        (False, lambda second: (100 + noise(second)) * MB, BYTES),
        (False, lambda second: (200 if second < 60 else 100) * MB, BYTES),
        (False, lambda second: (100 if second < 200 else 120) * MB, BYTES),
        (False, lambda second: (100 - second / 60) * MB, BYTES),
        (False, lambda second: 100 * MB + second * 100, BYTES),
        (True, lambda second: (100 + second / 60) * MB, BYTES),
        (True, lambda second: (100 + second / 60 + noise(second)) * MB, BYTES),
        (False, lambda second: 31 + (noise(second) > 0), COUNT),
        (True, lambda second: 31 + second // 30, COUNT),
    ],
    ids=["even", "noisy", "only at first", "a step", "falls", "less than counts", "leaks", "leaks with noise",
         "a thread comes and goes", "threads leak"],
)  # fmt: skip
def test_what_rises_all_the_time_grows_and_all_else_is_flat(
    grows: bool, value: Callable[[float], float], unit: str
) -> None:
    assert series(value, unit).grows(MINUTES * 60) is grows


def test_of_two_samples_nothing_is_said() -> None:
    short = Series("api", "RSS", BYTES, [500.0, 510.0], [1.0, 2.0])
    assert short.slope(MINUTES * 60) is None
    assert not short.grows(MINUTES * 60)


@pytest.fixture
def result() -> Soak:
    machine = {
        "date": "2026-01-02", "cores": 2, "device": "cpu", "cpu": "a processor", "python": "3.11.7", "torch": "2.15.0",
        "revision": "abc",
    }  # fmt: skip
    kinds = {"synchronous": Kind(900), "wrong key": Kind(100, 1, "Refused: 500 oh")}
    even, leak = series(lambda _: 100 * MB), series(lambda second: (100 + second / 60) * MB)
    leak.what = "worker"
    return Soak(machine, 2, MINUTES, 60.0, 20.0, kinds, 50, [even, leak], ["worker 1 ended after 70 s"])


def test_the_table_says_what_grows_what_was_unexpected_and_what_ended(result: Soak) -> None:
    out = io.StringIO()
    report.show(result, Console(file=out, width=160))
    lines = [" ".join(line.split()) for line in out.getvalue().splitlines()]
    assert "api RSS 100.0 MB 100.0 MB 100.0 MB +0.0 MB flat" in lines
    assert "worker RSS 101.0 MB 109.8 MB 109.8 MB +60.0 MB grows" in lines
    assert "wrong key 100 1 Refused: 500 oh" in lines
    assert "worker 1 ended after 70 s" in lines


def test_a_soak_is_written_as_json_and_plot_and_listed_once_beside_the_others(result: Soak, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("# Results\n\n| run |\n|---|\n| a |\n\n## Comparisons\n\n| run |\n|---|\n| b |\n")
    for _ in range(2):
        written = report.write(result, tmp_path)
    assert [path.suffix for path in written] == [".json", ".png"]
    document = json.loads(written[0].read_text())
    assert [(each["what"], each["grows"]) for each in document["series"]] == [("api", False), ("worker", True)]
    assert written[1].read_bytes().startswith(b"\x89PNG")
    text = readme.read_text()
    assert text.count("| 10 | 20 | 1 | worker RSS +60.0 MB/h |") == 1
    assert text.endswith("## Comparisons\n\n| run |\n|---|\n| b |\n"), "the other tables stay as they are"


@pytest.mark.parametrize("more", [["--peers"], ["--url", "http://127.0.0.1:1"]])
def test_a_soak_compares_nothing_and_starts_its_own_service(more: list[str]) -> None:
    ran = CliRunner().invoke(main, ["--soak", "1", *more])
    assert ran.exit_code == 2
    assert "--soak starts a service of its own" in ran.output


@pytest.mark.parametrize(("said", "kept"), [([], True), (["--save"], True), (["--no-save"], False)])
def test_a_long_soak_is_kept_unless_that_is_refused(
    monkeypatch: pytest.MonkeyPatch, said: list[str], kept: bool
) -> None:
    written: list[Soak] = []
    monkeypatch.setattr("bench.soak.run.soak", lambda *_: None)
    monkeypatch.setattr(report, "show", lambda *_: None)

    def write(result: Soak, _: Path) -> list[Path]:
        written.append(result)
        return []

    monkeypatch.setattr(report, "write", write)
    ended = CliRunner().invoke(main, ["--soak", "60", *said])
    assert ended.exit_code == 0, ended.output
    assert [result.minutes for result in written] == [60.0] * kept
