"""The arithmetic, the tasks and the report of the comparison of trainings."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click import UsageError
from click.testing import CliRunner
from PIL import Image
from rich.console import Console

from bench.peers import environments
from bench.training import figures, rejection, report, tasks, unfinished
from bench.training import run as running
from bench.training.__main__ import main
from bench.training.base import Base
from bench.training.contestants import Answer, CannotRun
from bench.training.contestants.fastai import Fastai
from bench.training.contestants.ours import Ours
from bench.training.contestants.recipe import Recipe
from bench.training.contestants.regression import Regression
from bench.training.result import PLAIN, Found, Rejection, Result, Row
from bench.training.run import CONTESTANTS, judge
from bench.training.tasks import Picture, Task

pytestmark = pytest.mark.slow


def task(each: int = 60, labels: int = 3, flipped: float = 0.0) -> Task:
    pictures = tuple(
        Picture(f"{label}-{number}", label, bytes([label, number])) for label in range(labels) for number in range(each)
    )
    return Task("fruit", tuple("abc"[:labels]), pictures, flipped)


def row(seed: int, contestant: str, accuracy: float, *, name: str = "fruit", error: float = 0.1) -> Row:
    before = 0.2 if contestant == "inferq" else None
    return Row(name, contestant, seed, 100, accuracy, error, before, 1.0)


def result(*rows: Row, seeds: int = 2) -> Result:
    machine = {
        "date": "2026-11-26",
        "revision": "abc",
        "cores": 2,
        "device": "cpu",
        "cpu": "",
        "python": "",
        "torch": "",
    }
    return Result(machine, seeds, tasks={each.task: {} for each in rows}, rows=list(rows))


def test_the_calibration_error_is_that_of_a_count_by_hand() -> None:
    # With 2 bins: 0.6, right, and 0.8, wrong, are in the upper one: |1.4 - 1|; 0.4, wrong, is in the lower: |0.4 - 0|.
    scores = np.array([[0.6, 0.3, 0.1], [0.8, 0.1, 0.1], [0.3, 0.3, 0.4]])
    assert figures.calibration_error(scores, np.array([0, 1, 0]), bins=2) == pytest.approx((0.4 + 0.4) / 3)


def test_a_score_on_an_edge_belongs_to_the_lower_bin_and_a_sure_one_to_the_last() -> None:
    scores = np.array([[0.5, 0.5], [1.0, 0.0]])  # apart: |0.5 - 1| and |1 - 0|; together they would cancel out
    assert figures.calibration_error(scores, np.array([0, 1]), bins=2) == pytest.approx((0.5 + 1.0) / 2)


def test_answers_that_are_as_often_right_as_they_are_sure_have_no_calibration_error() -> None:
    scores = np.tile([0.75, 0.25], (4, 1))
    assert figures.calibration_error(scores, np.array([0, 0, 0, 1])) == pytest.approx(0.0)


def test_an_interval_is_that_of_the_table_of_students_t() -> None:
    found = figures.mean([1.0, 2.0, 3.0, 4.0, 5.0])  # t with 4 degrees is 2.776, the deviation is the root of 2.5
    assert found.mean == 3.0
    assert found.high == pytest.approx(3 + 2.776 * (2.5 / 5) ** 0.5, abs=1e-3)
    assert found.low == pytest.approx(3 - 2.776 * (2.5 / 5) ** 0.5, abs=1e-3)
    two = figures.mean([0.0, 1.0])  # t with 1 degree is 12.706
    assert two.high == pytest.approx(0.5 + 12.706 * 0.5, abs=1e-2)


def test_a_single_value_has_no_interval() -> None:
    assert figures.mean([0.5]) == figures.Mean(0.5, None, None)
    assert str(figures.mean([0.5])) == "0.500"


def test_the_softmax_of_large_logits_is_finite() -> None:
    assert figures.softmax(np.array([[1000.0, 1000.0], [0.0, np.log(3)]])) == pytest.approx(
        np.array([[0.5, 0.5], [0.25, 0.75]])
    )


def test_the_picture_that_is_least_sure_of_its_given_label_is_the_most_suspect() -> None:
    scores = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
    assert figures.least_self_confident(scores, np.array([0, 1, 0])) == [1, 2, 0]


def test_as_many_suspects_count_as_labels_are_wrong() -> None:
    assert figures.found_share(["a", "x", "b"], {"a", "b"}) == 0.5
    assert figures.found_share(["b", "a", "x"], {"a", "b"}) == 1.0


@pytest.mark.parametrize("make", [tasks.digits, tasks.shapes])
def test_a_made_task_is_the_same_every_time_with_80_pictures_of_each_label(make: object) -> None:
    first, second = make(), make()  # type: ignore[operator]
    assert first == second
    counts = np.bincount([picture.label for picture in first.pictures])
    assert counts.tolist() == [80] * len(first.labels)
    assert len({picture.name for picture in first.pictures}) == len(first.pictures)
    drawn = tasks.draw(first, 0)
    assert len(drawn.training) == len(drawn.held_back) == 40 * len(first.labels)


def test_digits_look_like_their_source() -> None:
    from sklearn.datasets import load_digits

    picture = tasks.digits().pictures[0]
    number = int(picture.name.removeprefix("digit-").removesuffix(".png"))
    pixels, labels = load_digits(return_X_y=True)
    shown = np.asarray(Image.open(io.BytesIO(picture.data)).resize((8, 8), Image.Resampling.BOX), float)
    assert labels[number] == picture.label
    assert np.corrcoef(shown.ravel(), pixels[number])[0, 1] > 0.9


def test_a_draw_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    first, again, other = (tasks.draw(task(), seed) for seed in (1, 1, 2))
    assert first.training == again.training
    assert first.held_back == again.held_back
    assert first.given.tolist() == again.given.tolist()
    assert set(first.training) != set(other.training)


@pytest.mark.parametrize(("each", "learned", "held"), [(40, 26, 14), (59, 39, 20), (60, 40, 20), (200, 40, 40)])
def test_forty_of_each_label_are_learned_or_two_thirds_and_the_others_held_back(
    each: int, learned: int, held: int
) -> None:
    drawn = tasks.draw(task(each), 3)
    assert np.bincount([picture.label for picture in drawn.training]).tolist() == [learned] * 3
    assert np.bincount(drawn.truths).tolist() == [held] * 3
    assert not set(drawn.training) & set(drawn.held_back)


def test_a_tenth_of_the_labels_of_a_noisy_task_is_wrong_and_none_of_the_held_back_ones() -> None:
    drawn = tasks.draw(task(60, flipped=0.1), 0)
    wrong = [each.name for each, given in zip(drawn.training, drawn.given, strict=True) if given != each.label]
    assert drawn.flipped == wrong
    assert len(wrong) == 12
    assert set(drawn.given.tolist()) == {0, 1, 2}
    assert tasks.draw(task(60), 0).flipped == []


def test_a_folder_of_labels_becomes_a_task(tmp_path: Path) -> None:
    for label in ("pear", "plum"):
        (tmp_path / label).mkdir()
        for number in range(3):
            (tmp_path / label / f"{number}.JPG").write_bytes(label.encode())
        (tmp_path / label / "notes.txt").touch()
    made = tasks.from_folder(tmp_path)
    assert (made.name, made.labels) == (tmp_path.name, ("pear", "plum"))
    assert [(picture.name, picture.label) for picture in made.pictures][:2] == [("pear-0.JPG", 0), ("pear-1.JPG", 0)]
    (tmp_path / "plum" / "0.JPG").unlink()
    with pytest.raises(ValueError, match="plum has 2 pictures"):
        tasks.from_folder(tmp_path)


def test_a_folder_without_labels_and_an_unknown_task_are_refused_in_words(tmp_path: Path) -> None:
    ran = CliRunner().invoke(main, ["--data", str(tmp_path)])
    assert (ran.exit_code, "0 folders of labels" in ran.output) == (2, True)
    ran = CliRunner().invoke(main, ["--task", "pears"])
    assert (ran.exit_code, "no task pears; there are digits, shapes" in ran.output) == (2, True)


def test_foreign_pictures_are_those_of_other_tasks_noise_and_text() -> None:
    made = tasks.foreign([task()])
    assert len(made) == 3 * tasks.FOREIGN_EACH
    assert made == tasks.foreign([task()])
    assert all(Image.open(io.BytesIO(data)).size for data in made[tasks.FOREIGN_EACH :])


def test_an_answer_is_judged_on_the_true_labels() -> None:
    drawn = tasks.draw(task(6, labels=2), 0)
    right = np.eye(2)[drawn.truths]
    judged = judge("x", drawn, Answer(right, 2.0, uncalibrated=np.full((4, 2), 0.5)))
    assert (judged.accuracy, judged.calibration_error, judged.seconds, judged.pictures) == (1.0, 0.0, 2.0, 4)
    assert judged.uncalibrated_error == pytest.approx(0.0)  # always the first label, by halves, right half of the time
    assert judge("x", drawn, Answer(right[:, ::-1], 2.0)).accuracy == 0.0


class Scripted:
    """A contestant that gives every picture its first label, and does what `also` says before."""

    def __init__(self, name: str, also: Callable[[tasks.Draw], None]) -> None:
        self.name = name
        self._also = also

    def learn(self, draw: tasks.Draw) -> Answer:
        self._also(draw)
        scores = np.tile(np.eye(len(draw.task.labels))[0], (len(draw.held_back), 1))
        return Answer(scores, 1.0, suspects=draw.flipped)


@pytest.fixture
def learned(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, int]]:
    """The trainings that were begun, as (task, contestant, seed), of contestants that take no time."""
    begun: list[tuple[str, str, int]] = []

    def maker(name: str) -> running.Make:
        return lambda base, folder, epochs: Scripted(
            name, lambda draw: begun.append((draw.task.name, name, draw.seed))
        )  # fmt: skip

    monkeypatch.setattr(running, "Base", lambda folder: SimpleNamespace(close=lambda: None))
    for name in CONTESTANTS:
        monkeypatch.setitem(running.CONTESTANTS, name, maker(name))
    return begun


def refuse(draw: tasks.Draw) -> None:
    raise CannotRun("there is no network")


def test_a_contestant_that_cannot_run_is_left_out_with_the_reason_and_not_tried_again(
    learned: list[tuple[str, str, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(running.CONTESTANTS, "fastai", lambda base, folder, epochs: Scripted("fastai", refuse))
    measured = replace(result(), seeds=2)
    running.run(measured, [task()], ["fastai", "scikit-learn"], tmp_path, lambda text: None)
    assert measured.left_out == {"fastai": "there is no network"}
    assert [each.contestant for each in measured.rows] == ["scikit-learn"] * 2


def test_a_run_that_was_cut_short_is_resumed_where_it_stopped(
    learned: list[tuple[str, str, int]], tmp_path: Path
) -> None:
    """The file is that of the run; a training that did not end is the one that is repeated."""
    every, names, file = [task(flipped=0.1), replace(task(6), name="nuts")], ["inferq", PLAIN], tmp_path / "kept.json"

    def stop(text: str) -> None:
        if "nuts, seed 0, plain" in text:
            raise KeyboardInterrupt

    def keep(result: Result) -> None:
        unfinished.write(result, file)

    first = Result(result().machine, 2, 10)
    with pytest.raises(KeyboardInterrupt):
        running.run(first, every, names, tmp_path, stop, keep)
    assert len(learned) == 4
    learned.clear()
    resumed = unfinished.read(file, first.machine, None, None, every)
    running.run(resumed, every, names, tmp_path, lambda text: None, keep)
    assert learned == [("nuts", PLAIN, 0), *((name, who, 1) for name in ("fruit", "nuts") for who in names)]
    whole = Result(result().machine, 2, 10)
    running.run(whole, every, names, tmp_path, lambda text: None)
    assert resumed.as_json() == whole.as_json()
    assert [each.seed for each in whole.found if each.contestant == PLAIN] == [0, 1]
    shorter = unfinished.read(file, first.machine, 1, 10, every)
    assert (shorter.seeds, {each.seed for each in shorter.rows + shorter.found}) == (1, {0})


def test_an_unfinished_run_of_another_comparison_is_not_resumed(tmp_path: Path) -> None:
    file, one = tmp_path / "kept.json", [task()]
    begun = Result(result().machine, 2, 10, {"fruit": running.describe(tasks.draw(one[0], 0))}, [row(0, PLAIN, 0.5)])
    begun.left_out = {"fastai": "there was no network", "rejection": "there is no parameter"}
    unfinished.write(begun, file)
    assert unfinished.read(file, begun.machine, None, None, one).left_out == {"rejection": "there is no parameter"}
    other = begun.machine | {"revision": "def"}
    for arguments, reason in (
        ((other, None, None, one), "the revision was abc, and is def"),
        ((begun.machine, None, 25, one), "the number of epochs was 10, and is 25"),
        ((begun.machine, None, None, [task(61)]), "the pictures of the tasks"),
    ):
        with pytest.raises(UsageError, match=reason):
            unfinished.read(file, *arguments)
    file.write_text("[1]")
    with pytest.raises(UsageError, match=r"kept.json is no unfinished comparison"):
        unfinished.read(file, begun.machine, None, None, one)


def test_differences_are_paired_by_seed() -> None:
    measured = result(
        row(0, "inferq", 0.5), row(1, "inferq", 0.9), row(0, PLAIN, 0.4), row(1, PLAIN, 0.8), row(2, PLAIN, 0.1)
    )
    ahead = measured.ahead("fruit", PLAIN)
    assert ahead is not None
    assert (ahead.mean, ahead.low, ahead.high) == pytest.approx((10.0, 10.0, 10.0))  # unpaired it would scatter


def test_goals_are_against_the_best_other_of_each_task_and_the_plain_recipe() -> None:
    measured = result(
        row(0, "inferq", 0.9), row(0, "scikit-learn", 0.95), row(0, PLAIN, 0.6),
        row(0, "inferq", 0.8, name="nuts", error=0.25), row(0, "scikit-learn", 0.5, name="nuts"),
        row(0, PLAIN, 0.7, name="nuts"),
    )  # fmt: skip
    best, plain, calibration = measured.goals()
    assert [best.value, plain.value] == pytest.approx([(-5 + 10) / 2, (30 + 10) / 2])
    assert calibration.value == pytest.approx(0.05)  # that of nuts
    assert [goal.reached for goal in (best, plain, calibration)] == [True, True, False]
    assert result(row(0, "inferq", 0.9)).goals()[0].name.startswith("calibration error")
    measured.found = [Found("fruit", "inferq", seed, 20, share) for seed, share in enumerate((0.6, 0.7))]
    measured.found.append(Found("fruit", "scikit-learn", 0, 20, 1.0))
    found = next(goal for goal in measured.goals() if "wrong labels" in goal.name)
    assert found.value == pytest.approx(0.65)
    assert not found.reached


def test_a_rule_believes_sure_answers_that_are_near_what_was_learned() -> None:
    scores = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.95, 0.05]])
    rule = SimpleNamespace(min_score=0.8, max_distance=0.5)
    assert rejection.believed(rule, scores, np.array([0.1, 0.6, 0.1, 0.5])).tolist() == [True, False, False, True]
    assert rejection.believed(rule, scores, None).tolist() == [True, True, False, True]
    measured = rejection.summarise(
        "fruit", 0, np.array([True, True, False, False, True]), np.array([True, False, True])
    )
    assert measured == Rejection("fruit", 0, 0.5, 2 / 3, 0.5)
    assert rejection.summarise("fruit", 0, np.array([False, False]), np.array([True])).precision is None


def test_the_report_shows_all_and_adds_a_row_to_a_section_of_its_own(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("# Results of `inferq bench`\n\n| run |\n|---|\n| [older](older.json) |\n\n## Soaks\n\n| run |\n")
    measured = result(*(row(seed, name, 0.9 + seed / 100) for seed in (0, 1) for name in ("inferq", "scikit-learn")))
    measured.found = [Found("fruit", "scikit-learn", 0, 12, 0.75)]
    measured.rejections = [Rejection("fruit", 0, 0.96, 0.8, 0.9)]
    measured.left_out = {"fastai": "there is no network"}
    shown = io.StringIO()
    report.show(measured, Console(file=shown, width=160))
    for text in ("0.905 ± 0.064", "0.750", "0.960", "not measured: fastai, since there is no network"):
        assert text in shown.getvalue()
    report.write(measured, tmp_path)
    written = report.write(measured, tmp_path)
    name = "2026-11-26-abc-2cores-cpu-trainings"
    assert [path.name for path in written] == [f"{name}.json", f"{name}.png"]
    lines = readme.read_text().splitlines()
    rows = [line for line in lines if "trainings.json" in line]
    assert len(rows) == 1
    assert "fruit 0.905, scikit-learn 0.905, +0.0 ± 0.0" in rows[0]
    assert lines.index(report._HEAD) > lines.index("## Soaks")
    document = json.loads(written[0].read_text())
    assert document["ahead"][0]["points"]["mean"] == pytest.approx(0.0)
    assert len(document["rows"]) == 4


def colours() -> Task:
    """Return pictures of three colours; their labels are not in the order of the alphabet."""
    random = np.random.default_rng(0)
    pictures = []
    for number in range(36):
        pixels = np.zeros((64, 64, 3), np.uint8)
        pixels[..., number % 3] = random.integers(120, 256, (64, 64))
        with io.BytesIO() as file:
            Image.fromarray(pixels).save(file, "PNG")
            pictures.append(Picture(f"{number}.png", number % 3, file.getvalue()))
    return Task("colours", ("red", "green", "blue"), tuple(pictures))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Base]:
    made = Base(tmp_path_factory.mktemp("training") / "base")
    yield made
    made.close()


@pytest.mark.long
def test_inferq_and_scikit_learn_give_their_scores_in_the_order_of_the_tasks_labels(base: Base) -> None:
    drawn = tasks.draw(colours(), 0)
    ours = Ours(base, {"fine_tune": "never"}).learn(drawn)
    for answer in (ours, Regression(base).learn(drawn)):
        assert answer.scores.shape == (12, 3)
        assert answer.scores.sum(axis=1) == pytest.approx(1.0)
        assert answer.scores.argmax(axis=1).tolist() == drawn.truths.tolist()
        assert answer.seconds > 0
    assert ours.note.startswith("head")
    assert ours.uncalibrated is not None
    assert ours.uncalibrated.argmax(axis=1).tolist() == drawn.truths.tolist()


def test_the_scores_before_the_temperature_are_those_of_the_undivided_logits(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, ours = tasks.draw(colours(), 0), Ours(base)
    version = SimpleNamespace(labels=("blue", "red", "green"))
    monkeypatch.setattr(ours, "train", lambda draw: (version, {"method": "head", "temperature": 2.0}, 1.0))
    monkeypatch.setattr(ours, "logits", lambda version, pictures: np.array([[0.0, np.log(2), 0.0]] * len(pictures)))
    answer = ours.learn(drawn)
    assert answer.scores[0] == pytest.approx([0.5, 0.25, 0.25])  # red, green, blue
    assert answer.uncalibrated is not None
    assert answer.uncalibrated[0] == pytest.approx([4 / 6, 1 / 6, 1 / 6])


def test_the_plain_recipe_trains_the_whole_network(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = tasks.draw(Task("few", ("red", "green", "blue"), colours().pictures[:12]), 0)
    network = base.network(3)
    before = {name: values.clone() for name, values in network.named_parameters()}
    monkeypatch.setattr(base, "network", lambda labels: network)
    answer = Recipe(base, epochs=1).learn(drawn)
    unchanged = [name for name, values in network.named_parameters() if values.equal(before[name])]
    assert [name for name in unchanged if "bn" not in name] == [], "shifts before a batch norm have no effect"
    assert not network.training, "the answers are those of the network in eval mode"
    assert answer.scores.shape == (6, 3)
    assert answer.scores.sum(axis=1) == pytest.approx(1.0)
    assert answer.note == "1 of the tutorial's 25 epochs"


def test_the_program_of_fastais_environment_needs_nothing_of_inferq() -> None:
    block = "import sys; sys.modules |= dict.fromkeys(('shared', 'worker', 'api', 'inferq'))"
    subprocess.run([sys.executable, "-c", f"{block}; import bench.training.contestants"], check=True, timeout=60)


def test_fastai_is_left_out_in_words_where_it_cannot_be_installed(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create(name: str, requirements: object) -> Path:
        raise environments.CannotInstall("no matching distribution")

    monkeypatch.setenv("INFERQ_BENCH_ENVS", str(tmp_path))
    monkeypatch.setattr(environments, "create", create)
    with pytest.raises(CannotRun, match="fastai cannot be installed: no matching distribution"):
        Fastai(base, tmp_path / "fastai").learn(tasks.draw(colours(), 0))
