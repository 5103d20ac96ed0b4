"""The arithmetic of the error of `eta`, and its report."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from bench.__main__ import main
from bench.eta import report
from bench.eta.result import Accuracy, Look, Steady, Summary


def looks(*pairs: tuple[float | None, float], stage: str = "QUEUED") -> list[Look]:
    """Return looks by (seconds that were told, seconds that it took)."""
    return [Look(stage, 0.0, told, real) for told, real in pairs]


@pytest.fixture
def result() -> Accuracy:
    machine = {
        "date": "2026-01-02", "cores": 2, "device": "cpu", "cpu": "a processor", "python": "3.11.7", "torch": "2.15.0",
        "revision": "abc",
    }  # fmt: skip
    light = Steady("digits", 900.0, 500, 16, looks((11.0, 10.0), (6.0, 10.0), (None, 5.0), (3.0, 0.5)))
    heavy = Steady("mobilenet_v2", 90.0, 50, 16, looks((12.0, 10.0)) + looks((11.0, 10.0), stage="RUNNING"))
    return Accuracy(machine, 2, [light, heavy])


def test_an_error_is_a_share_of_the_time_that_it_took() -> None:
    assert [look.error for look in looks((15.0, 10.0), (5.0, 10.0), (None, 10.0))] == [0.5, -0.5, None]


def test_neither_looks_without_an_eta_count_nor_those_just_before_the_end(result: Accuracy) -> None:
    assert result.steady[0].errors() == pytest.approx([0.1, -0.4])
    assert result.steady[0].untold == 1


def test_a_summary_has_the_size_of_the_errors_and_their_direction() -> None:
    assert Summary.of([-0.5, 0.1, 0.2, -0.3, 0.0]) == Summary(5, 0.2, 0.5, 0.0)
    assert Summary.of([]) is None


def test_the_errors_of_a_stage_are_told_apart(result: Accuracy) -> None:
    assert result.steady[1].errors(["RUNNING"]) == pytest.approx([0.1])


def test_the_goal_is_the_median_of_each_model(result: Accuracy) -> None:
    goals = result.goals()
    assert [goal.name for goal in goals] == ["median error of eta, digits", "median error of eta, mobilenet_v2"]
    assert [goal.value for goal in goals] == pytest.approx([0.25, 0.15])


def test_the_table_says_how_far_off_each_stage_was(result: Accuracy) -> None:
    out = io.StringIO()
    report.show(result, Console(file=out, width=200))
    lines = [" ".join(line.split()) for line in out.getvalue().splitlines()]
    assert "QUEUED 2 25% 40% -15%" in lines
    assert "RUNNING 1 10% 10% +10%" in lines


def test_the_result_is_written_as_json_and_plot_and_listed_once(result: Accuracy, tmp_path: Path) -> None:
    for _ in range(2):
        data, picture = report.write(result, tmp_path)
    document = json.loads(data.read_text())
    assert document["steady"][0]["all"] == pytest.approx({"count": 2, "median": 0.25, "p90": 0.4, "bias": -0.15})
    assert document["steady"][0]["submitted"] is None
    assert picture.read_bytes().startswith(b"\x89PNG")
    row = "| digits; mobilenet_v2 | 2; 2 | 25%; 15% | 40%; 20% | -15%; +15% |"
    assert (tmp_path / "README.md").read_text().count(row) == 1


@pytest.mark.parametrize("more", [["--peers"], ["--url", "http://127.0.0.1:1"], ["--soak", "1"]])
def test_it_starts_its_own_service_and_measures_nothing_else(more: list[str]) -> None:
    ran = CliRunner().invoke(main, ["--eta", *more])
    assert ran.exit_code == 2
    assert "leave --url, --peers and --soak out" in ran.output or "--soak starts a service" in ran.output
