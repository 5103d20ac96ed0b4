"""The commands `datasets`, `train` and `trainings`, against a small real HTTP server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from rich.console import Console

from inferq.client import connection
from inferq.commands import console, evidence, progress_view
from shared.schemas.datasets import DatasetPage
from shared.schemas.evidence import Evidence
from shared.schemas.trainings import Training, TrainingPage
from tests.unit.answers import complete, dataset, model, training, training_answer, version
from tests.unit.toy_server import ToyServer, serving

EPOCH = {"stage": "head", "train_loss": 0.5, "train_accuracy": 0.8, "validation_loss": 0.6, "validation_accuracy": 0.75}
CURVE = [EPOCH | {"epoch": 1}, EPOCH | {"epoch": 2, "train_loss": 0.25, "validation_loss": None}]
EVIDENCE: dict[str, Any] = {
    "accuracy": 0.9,
    "macro_f1": 0.895,
    "labels": ["daisy", "rose"],
    "per_label": [
        {"label": "daisy", "precision": 1.0, "recall": 0.8, "f1": 0.889, "support": 5},
        {"label": "rose", "precision": 0.833, "recall": 1.0, "f1": 0.909, "support": 5},
    ],
    "confusion": [[4, 1], [0, 5]],
    "ece_before": 0.081,
    "ece_after": 0.023,
    "temperature": 1.42,
    "mistakes": [{"example": 3, "name": "d3.jpg", "expected": "daisy", "predicted": "rose", "score": 0.77}],
    "curve": CURVE,
    "method": "head",
    "note": "A linear head on the features of mobilenet_v2 1.",
    "examples": {"training": 80, "validation": 10, "test": 10},
    "dataset": {"id": 7, "name": "flowers", "version": 2},
    "parameters": {"epochs": 100, "learning_rate": 0.001},
    "seconds": {"features": 5.0, "head": 2.0, "fine_tuning": 0, "testing": 0.4, "total": 7.4},
    "machine": {"device": "cpu", "threads": 2},
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ToyServer]:
    monkeypatch.setattr(connection, "EVERY", 0.0)
    with serving() as running:
        yield running


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    (tmp_path / "flowers" / "rose").mkdir(parents=True)
    (tmp_path / "flowers" / "rose" / "1.jpg").write_bytes(b"petals")
    return tmp_path / "flowers"


def loaded(**fields: Any) -> dict[str, Any]:
    labels = [{"id": 1, "name": "daisy", "examples": 20}, {"id": 2, "name": "rose [sic]", "examples": 40}]
    return dataset("READY", labels=labels, label_count=2, examples=60, **fields)


MADE = {"name": "flowers", "version": "2"}


def trained(**measured: Any) -> Training:
    """Return a DONE training with these parts of its evidence."""
    return training_answer("DONE", progress=1.0, curve=CURVE, model=MADE, evidence=EVIDENCE | measured)


def done() -> dict[str, Any]:
    return trained().to_json()


def trains(server: ToyServer, *steps: dict[str, Any], default: str = "2") -> None:
    """Let the server accept a training that goes through these steps; its version is ready."""
    server.on("POST /v1/trainings", (202, {}, steps[0]))
    server.on("GET /v1/trainings/t1", *[(200, {}, step) for step in steps])
    ready = [version("ready", name="flowers"), version("ready", name="flowers", version="2")]
    server.on("GET /v1/models/flowers", (200, {}, model(*ready, name="flowers", default_version=default)))


def shown(renderable: object, width: int = 80) -> str:
    console = Console(width=width, highlight=False, markup=False)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


# datasets


def test_a_folder_becomes_a_dataset_and_the_loading_is_shown(
    server: ToyServer, run: Callable[..., Result], flowers: Path
) -> None:
    reading = dataset("LOADING", message="reading the archive, 30 pictures so far", progress=0.5)
    reasons = [{"path": "rose/x.jpg", "why": "the picture is damaged"}]
    server.on("POST /v1/datasets", (202, {}, reading))
    server.on("GET /v1/datasets/7", (200, {}, reading), (200, {}, loaded(duplicates=3, unreadable=1, reasons=reasons)))
    result = run("datasets", "create", "flowers", flowers)
    assert result.exit_code == 0
    assert "flowers: reading the archive, 30 pictures so far\n" in result.stderr
    assert "inferq train flowers --name MODEL" in result.stderr
    lines = result.stdout.splitlines()
    assert "rose [sic]        40  ━━━━━━━━━━━━━━━━━━━━" in result.stdout
    assert "daisy             20  ━━━━━━━━━━··········" in result.stdout
    assert [line.split() for line in lines if "duplicates" in line] == [["duplicates", "left", "out", "3"]]
    assert "rose/x.jpg: the picture is damaged" in result.stdout
    assert b"rose/1.jpg" in server.requests[0].body


def test_contradictions_and_warnings_are_shown_with_the_dataset(server: ToyServer, run: Callable[..., Result]) -> None:
    contradictions = [
        {"labels": ["daisy", "rose"], "paths": ["daisy/1.jpg", "rose/2.jpg"], "example": None},
        {"labels": ["daisy", "rose"], "paths": ["daisy/3.jpg", "rose/4.jpg"], "example": 7},
    ]
    warnings = ["Labels with fewer than 10 pictures: 'rose' (3). Add some."]
    fields = {"contradicting": 2, "contradictions": contradictions, "warnings": warnings}
    server.on("GET /v1/datasets/flowers", (200, {}, loaded(**fields)))
    result = run("datasets", "show", "flowers")
    assert ["under", "two", "labels", "2"] in [line.split() for line in result.stdout.splitlines()]
    printed = " ".join(result.stdout.split())
    assert "daisy/1.jpg: also sent as rose/2.jpg; one picture with two labels teaches neither" in printed
    assert "daisy/3.jpg: also sent as rose/4.jpg; the dataset keeps it as 'daisy', example 7" in printed
    assert warnings[0] in printed


def test_a_dataset_with_declared_splits_is_shown_with_the_pictures_of_each(
    server: ToyServer, run: Callable[..., Result]
) -> None:
    server.on("GET /v1/datasets/flowers", (200, {}, loaded(splits={"": 5, "training": 40, "test": 15})))
    lines = [" ".join(line.split()) for line in run("datasets", "show", "flowers").stdout.splitlines()]
    place = lines.index("pictures 60")
    assert lines[place + 1 : place + 4] == ["not assigned yet 5", "for training 40", "for test 15"]
    server.on("GET /v1/datasets/flowers", (200, {}, loaded(splits={"": 60})))
    assert "assigned" not in run("datasets", "show", "flowers").stdout


def test_near_duplicates_are_listed_in_groups(server: ToyServer, run: Callable[..., Result]) -> None:
    def copy(number: int, label: str, split: str) -> dict[str, Any]:
        return {
            "id": number, "name": f"{number}.jpg", "label": {"id": 1, "name": label}, "split": split,
            "source": "upload", "size": 9, "sha256": "0", "created_at": "2026-01-01T00:00:00Z",
            "links": {"self": "", "picture": ""},
        }  # fmt: skip

    examples = [copy(3, "daisy", "training"), copy(8, "rose", "test")]
    group = {"labels": ["daisy", "rose"], "splits": ["test", "training"], "examples": examples}
    answer = {"groups": [group], "total": 5, "contradicting": 1, "across": 2, "uncompared": 0}
    server.on("GET /v1/datasets/flowers/duplicates", (200, {}, answer))
    result = run("datasets", "duplicates", "flowers", "--limit", "1")
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["1", "daisy", "training", "3.jpg", "3"] in lines
    assert ["rose", "test", "8.jpg", "8"] in lines
    assert ["groups", "5"] in lines
    assert ["in", "several", "splits", "2"] in lines
    assert not [line for line in lines if "compared" in line]


@pytest.mark.parametrize("state", ["FAILED", "READY"])
def test_an_archive_that_cannot_be_read_is_exit_1_with_the_reason(
    server: ToyServer, run: Callable[..., Result], state: str
) -> None:
    server.on("POST /v1/datasets/flowers/archive", (202, {}, dataset("LOADING")))
    server.on("GET /v1/datasets/7", (200, {}, dataset(state, message="No file lies in a label folder.")))
    result = run("datasets", "add", "flowers", "https://example.org/flowers.zip")
    assert result.exit_code == 1
    assert "No file lies in a label folder." in result.stdout
    assert json.loads(server.requests[0].body) == {"url": "https://example.org/flowers.zip"}


def test_an_empty_dataset_has_the_labels_that_were_named(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on("POST /v1/datasets", (201, {}, dataset("READY", labels=[{"id": 1, "name": "rose", "examples": 0}])))
    result = run("datasets", "create", "empty", "--label", "rose", "--label", "daisy")
    assert result.exit_code == 0
    assert json.loads(server.requests[0].body)["labels"] == ["rose", "daisy"]
    assert "inferq train" not in result.stderr
    assert "training needs two labels, with two pictures each" in result.stderr


@pytest.mark.parametrize(("counts", "enough"), [((9,), False), ((9, 1), False), ((9, 0), False), ((9, 2, 0), True)])
def test_a_dataset_that_cannot_be_trained_on_says_what_it_needs(
    server: ToyServer, run: Callable[..., Result], counts: tuple[int, ...], enough: bool
) -> None:
    labels = [{"id": number, "name": str(number), "examples": count} for number, count in enumerate(counts, 1)]
    server.on("GET /v1/datasets/7", (200, {}, dataset("READY", labels=labels, name="my flowers")))
    printed = run("datasets", "show", "7").stderr
    assert ("inferq train 'my flowers' --name MODEL" in printed) == enough
    assert ("inferq datasets add 'my flowers' FOLDER    training needs two labels" in printed) != enough


@pytest.mark.parametrize("words", ["flowers", "flowers https://example.org/a.zip --label rose", "flowers nowhere.zip"])
def test_what_cannot_be_meant_is_refused_before_anything_is_sent(
    server: ToyServer, run: Callable[..., Result], words: str
) -> None:
    assert run("datasets", "create", *words.split()).exit_code == 2
    assert server.requests == []


def test_ctrl_c_while_a_dataset_loads_says_how_to_look_at_it_later(
    server: ToyServer, run: Callable[..., Result], flowers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.on("POST /v1/datasets", (202, {}, dataset("LOADING")))
    monkeypatch.setattr("inferq.client.datasets.Datasets.stream", _interrupted)
    result = run("datasets", "create", "flowers", flowers)
    assert result.exit_code == 130
    assert "dataset 7 continues loading; show it with: inferq datasets show 7" in result.stderr


def test_datasets_are_listed_shown_and_deleted(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on(
        "GET /v1/datasets", (200, {}, complete(DatasetPage, datasets=[loaded(created_at="2020-01-02T12:00:00Z")]))
    )
    server.on("GET /v1/datasets/flowers", (200, {}, loaded()))
    server.on("DELETE /v1/datasets/flowers", (202, {}, dataset("DELETING")))
    (row,) = (line.split() for line in run("datasets", "list").stdout.splitlines() if "flowers" in line)
    assert row == ["flowers", "7", "READY", "2", "60", "2020-01-02"]
    assert json.loads(run("datasets", "list", "--json").stdout)[0]["id"] == 7
    assert json.loads(run("datasets", "show", "flowers", "--json").stdout) == loaded()
    assert run("datasets", "delete", "flowers").stderr == "deleted flowers\n"


# train


def test_a_training_is_followed_in_lines_and_ends_with_what_was_made(
    server: ToyServer, run: Callable[..., Result]
) -> None:
    trains(
        server,
        training("QUEUED", message="waiting for a trainer", position=2),
        training("RUNNING", message="features of the pictures, 40 of 80", progress=0.2),
        training("RUNNING", message="training the head", progress=0.5, curve=CURVE[:1]),
        training("RUNNING", message="testing", progress=0.5, curve=CURVE[:1]),
        done(),
    )
    result = run("train", "flowers", "--base", "resnet18", "--name", "flowers", "--patience", 3, "--no-flip")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[:3] == [
        "flowers: waiting for a trainer (number 2 in the queue)",
        "flowers: features of the pictures, 40 of 80",
        "flowers: head, epoch 1: train loss 0.5000, 80.0 % right; validation loss 0.6000, 75.0 % right",
    ]
    assert result.stderr.splitlines()[-1] == "next inferq classify --model flowers PICTURE"
    for words in (
        "training t1  DONE  flowers 2, the default version",
        "90.0 %",
        "tested on 10 pictures: each of them is worth 10.0 points",
        "8.1 % → 2.3 %",
        "A linear head on the features of mobilenet_v2 1.",
        "80 training, 10 validation, 10 test; flowers version 2",
        "7.4 s: features 5.0, head 2.0, testing 0.4",
        "0.909  ━━━━━━━━━━━━━━━━━━··",
    ):
        assert words in result.stdout
    assert json.loads(server.requests[0].body) == {
        "dataset": "flowers", "name": "flowers", "base": "resnet18",
        "parameters": {"max_unimproved_epochs": 3, "flip": False},
    }  # fmt: skip


def test_a_version_that_is_not_the_default_is_shown_with_how_to_make_it_so(
    server: ToyServer, run: Callable[..., Result]
) -> None:
    trains(server, done(), default="1")
    printed = run("train", "flowers", "--name", "flowers").stderr
    assert "inferq classify --model flowers --version 2 PICTURE" in printed
    assert "inferq models compare flowers 2" in printed
    assert "inferq models promote flowers 2" in printed


def test_a_failed_training_is_exit_1_with_the_reason(server: ToyServer, run: Callable[..., Result]) -> None:
    trains(server, training("FAILED", error="The disk of the trainer is full."))
    result = run("train", "flowers", "--name", "flowers")
    assert result.exit_code == 1
    assert "The disk of the trainer is full." in result.stdout


def test_detached_prints_only_the_id(server: ToyServer, run: Callable[..., Result]) -> None:
    trains(server, training("QUEUED"))
    assert run("train", "flowers", "--name", "flowers", "--detach").stdout == "t1\n"
    assert len(server.requests) == 1


def test_ctrl_c_leaves_the_training_and_says_how_to_follow_and_cancel_it(
    server: ToyServer, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    trains(server, training("QUEUED"))
    monkeypatch.setattr("inferq.client.trainings.Trainings.stream", _interrupted)
    result = run("train", "flowers", "--name", "flowers")
    assert result.exit_code == 130
    assert "training t1 continues; follow it with: inferq trainings wait t1\n" in result.stderr
    assert "cancel it with: inferq trainings cancel t1\n" in result.stderr
    assert [request.method for request in server.requests] == ["POST"]


def test_programs_get_the_servers_json_of_the_end(server: ToyServer, run: Callable[..., Result]) -> None:
    trains(server, training("RUNNING"), done())
    assert json.loads(run("train", "flowers", "--name", "flowers", "--json").stdout) == done()


def test_on_a_terminal_the_progress_is_drawn_in_place_and_nothing_of_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(width=80, force_terminal=True, color_system=None)
    monkeypatch.setattr(console, "remarks", terminal)
    steps = [training_answer("RUNNING", message="training", progress=0.5, curve=CURVE), trained()]
    with terminal.capture() as capture:
        assert progress_view.follow(steps, progress_view.training, progress_view.training_line) is steps[1]
    drawn = capture.get()
    assert "━━━━━" in drawn
    assert drawn.endswith("\x1b[2K")  # the last line is wiped out


@pytest.mark.parametrize("width", [80, 100])
def test_the_newest_epochs_fit_the_terminal_and_a_star_is_the_best(width: int) -> None:
    curve = [EPOCH | {"epoch": epoch, "validation_loss": abs(epoch - 9) / 10} for epoch in range(1, 12)]
    drawn = shown(progress_view.training(training_answer("RUNNING", curve=curve)), width)
    assert max(map(len, drawn.splitlines())) <= width
    rows = [line.split() for line in drawn.splitlines() if " head " in line]
    assert [row[1] for row in rows] == ["6", "7", "8", "9", "10", "11"]
    assert [row[1] for row in rows if row[-1] == "★"] == ["9"]


def test_an_epoch_without_a_finite_loss_has_a_dash_and_is_never_the_best() -> None:
    curve = [EPOCH | {"epoch": 1}, EPOCH | {"epoch": 2, "train_loss": None, "validation_loss": None}]
    drawn = shown(progress_view.training(training_answer("RUNNING", curve=curve)))
    rows = {row[1]: row for row in (line.split() for line in drawn.splitlines()) if row[:1] == ["head"]}
    assert (rows["1"][-1], rows["2"][2]) == ("★", "–")


# trainings


def test_trainings_are_listed(server: ToyServer, run: Callable[..., Result]) -> None:
    listed = {"id": "t1", "status": "DONE", "name": "flowers", "model": MADE, "progress": 1.0}
    page = complete(TrainingPage, trainings=[listed | {"created_at": "2020-01-02T12:00:00Z"}])
    server.on("GET /v1/trainings", (200, {}, page))
    (row,) = (line.split() for line in run("trainings", "list", "--status", "done").stdout.splitlines() if "t1" in line)
    assert row == ["t1", "DONE", "2020-01-02", "flowers", "2"]
    assert "status=DONE" in server.requests[0].path


def test_show_presents_the_confusions_and_the_mistakes(server: ToyServer, run: Callable[..., Result]) -> None:
    trains(server, done())
    printed = run("trainings", "show", "t1").stdout
    cells = {line.split()[0]: line.split()[1:] for line in printed.partition("rows: true label")[2].splitlines()[2:4]}
    assert cells == {"daisy": ["4", "1"], "rose": ["·", "5"]}
    assert ["d3.jpg", "daisy", "rose", "0.770"] in [line.split() for line in printed.splitlines()]
    assert "epochs 100, learning_rate 0.001" in printed


def test_show_of_one_that_runs_says_how_far_it_is(server: ToyServer, run: Callable[..., Result]) -> None:
    trains(server, training("RUNNING", progress=0.5, message="training the head", curve=CURVE))
    printed = run("trainings", "show", "t1").stdout
    assert "50%" in printed
    assert "training the head" in printed
    assert "0.2500" in printed


def test_the_evidence_of_a_removed_model_is_still_shown(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on("GET /v1/trainings/t1", (200, {}, done()))
    result = run("trainings", "show", "t1")
    assert result.exit_code == 0
    assert "90.0 %" in result.stdout


def test_saved_evidence_is_its_json_and_all_plots(
    server: ToyServer, run: Callable[..., Result], tmp_path: Path
) -> None:
    trains(server, done())
    names = [f"{plot}.{kind}" for plot in ("confusion", "curve", "reliability") for kind in ("svg", "png")]
    for name in names:
        server.on(f"GET /v1/trainings/t1/plots/{name}", (200, {}, name.encode()))
    result = run("trainings", "show", "t1", "--save", tmp_path / "new" / "folder")
    assert result.exit_code == 0
    saved = {path.name: path.read_bytes() for path in (tmp_path / "new" / "folder").iterdir()}
    assert json.loads(saved.pop("evidence.json")) == complete(Evidence, **EVIDENCE)
    assert saved == {name: name.encode() for name in names}


def test_there_is_no_evidence_to_save_before_the_end(
    server: ToyServer, run: Callable[..., Result], tmp_path: Path
) -> None:
    trains(server, training("RUNNING"))
    result = run("trainings", "show", "t1", "--save", tmp_path / "folder")
    assert (result.exit_code, (tmp_path / "folder").exists()) == (1, False)
    assert "training t1 is RUNNING" in result.stderr


def test_a_training_is_cancelled(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on("DELETE /v1/trainings/t1", (200, {}, training("CANCELLED")))
    assert run("trainings", "cancel", "t1").stderr == "t1 is CANCELLED\n"


def test_wait_ends_with_1_when_the_training_was_cancelled(server: ToyServer, run: Callable[..., Result]) -> None:
    trains(server, training("RUNNING"), training("CANCELLED"))
    result = run("trainings", "wait", "t1")
    assert result.exit_code == 1
    assert "CANCELLED" in result.stdout


@pytest.mark.parametrize(("labels", "says"), [(5, "columns: predicted label"), (14, " 14 "), (60, "predicted  times")])
@pytest.mark.parametrize("width", [80, 100])
def test_confusions_fit_the_terminal_however_many_labels_there_are(labels: int, says: str, width: int) -> None:
    names = [f"label {number}" for number in range(1, labels + 1)]
    counts = [[30 if row == column else (row + column) % 3 for column in range(labels)] for row in range(labels)]
    drawn = "".join(shown(part, width) for part in evidence.confusion(names, counts, width))
    assert says in drawn
    assert max(map(len, drawn.splitlines())) <= width


def test_of_many_labels_the_worst_are_shown() -> None:
    row = {"precision": 1.0, "recall": 1.0, "support": 1}
    rows = [row | {"label": f"label-{n}", "f1": n / 100} for n in reversed(range(50))]
    drawn = shown(evidence.summary(trained(per_label=rows)))
    assert [line.split()[0] for line in drawn.splitlines() if " label-" in line] == [f"label-{n}" for n in range(24)]
    assert "and 26 labels with a better F1" in drawn


@pytest.mark.parametrize(("count", "said"), [(0, ""), (1, "1 label is"), (2, "2 labels are")])
def test_the_summary_says_how_many_labels_are_suspect(count: int, said: str) -> None:
    drawn = shown(evidence.summary(trained(suspects_in_all=count)))
    assert ("suspects" in drawn, said in drawn) == (count > 0, True)


def test_the_losses_are_those_of_the_stage_that_made_the_version() -> None:
    tried = [*CURVE, EPOCH | {"stage": "fine-tuning", "epoch": 1, "train_loss": 7.0}]
    for method, loss in (("head", "0.250"), ("fine-tuned", "7.000")):
        drawn = shown(evidence.summary(trained(method=method, curve=tried)))
        assert loss in next(line for line in drawn.splitlines() if line.startswith(" loss"))


def test_a_sparkline_goes_from_the_highest_to_the_lowest() -> None:
    assert console.spark([3, 2, 1]) == "█▅▁"
    assert console.spark([5, 5]) == "▁▁"
    assert console.spark([]) == ""
    assert console.spark(range(101, 0, -1), 3) == "█▅▁"


def _interrupted(*_: object, **__: object) -> Iterator[object]:
    raise KeyboardInterrupt
