"""`inferq classify` against a small real HTTP server: sources, answers, failures, patience, and how to go on."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from inferq.cli import main
from inferq.client import Client, MapProgress, Source, map_sources, mapping
from inferq.client.map_sources import BATCH, File
from inferq.commands import progress_view
from inferq.errors import StillRunning
from shared import errors
from shared.schemas.models import DefaultModel
from tests.unit.answers import complete, job, model, version
from tests.unit.toy_server import Answer, ToyRequest, ToyServer

REPOSITORY = Path(__file__).parents[2]
NO_PICTURE = {"code": "not_a_picture", "detail": "'bad.jpg' is not a picture in a known format [sic]."}
TERRIER = "American Staffordshire terrier"


class Classifier:
    """A server whose jobs are done at once: each picture is a terrier, and a body with `bad` in it is refused."""

    def __init__(self, server: ToyServer) -> None:
        self.server = server
        self.names: list[list[str]] = []
        """The names of the pictures of each job."""
        server.on("POST /v1/jobs", self.submit)

    def submit(self, request: ToyRequest) -> Answer:
        if b"\r\nbad" in request.body:
            return 400, {}, NO_PICTURE
        names = [name.decode() for name in re.findall(rb'filename="([^"]*)"', request.body)]
        if request.headers["content-type"] == "application/json":
            names = [each.get("url") or each["name"] for each in json.loads(request.body)["inputs"]]
        self.names.append(names)
        number = f"j{len(self.names)}"
        results = [{"label": TERRIER, "score": 0.93}, {"label": "goose", "score": 0.02}]
        predictions = [{"name": name, "results": results} for name in names]
        ended = job("DONE", id=number, predictions=predictions, progress={"total": len(names), "done": len(names)})
        self.server.on(f"GET /v1/jobs/{number}", (200, {}, ended))
        return 202, {}, job("QUEUED", id=number, progress={"total": len(names)})

    @property
    def sent(self) -> list[str]:
        """The names of all pictures that became part of a job."""
        return [*itertools.chain.from_iterable(self.names)]


@pytest.fixture
def classifier(server: ToyServer) -> Classifier:
    return Classifier(server)


@pytest.fixture
def duck(tmp_path: Path) -> Path:
    (tmp_path / "duck.png").write_bytes(b"quack")
    return tmp_path / "duck.png"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of 150 pictures in two folders, two of them bad, with a file and a folder that are no pictures."""
    folder = tmp_path / "photos"
    for number in range(150):
        path = folder / f"{number % 2}" / f"{number:03}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"bad" if number in (7, 90) else b"picture %d" % number)
    (folder / "notes.txt").write_text("x")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "a.jpg").write_bytes(b"x")
    return folder


def answers(server: ToyServer, ended: dict[str, Any]) -> None:
    """Let the server accept a job that has ended with this status when it is read."""
    server.on("POST /v1/jobs", (202, {}, job("QUEUED")))
    server.on("GET /v1/jobs/j1", (200, {}, ended))


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# sources


def test_a_folder_is_classified_with_all_below_it_in_order_and_a_bad_picture_fails_alone(
    classifier: Classifier, run: Callable[..., Result], photos: Path
) -> None:
    result = run("classify", photos, "--json")
    found = lines(result.stdout)
    assert result.exit_code == 1
    assert [entry["file"] for entry in found] == sorted(str(path) for path in photos.glob("?/*.jpg"))
    assert sum("results" in entry for entry in found) == 148
    assert {entry["name"] for entry in found if "error" in entry} == {"0/090.jpg", "1/007.jpg"}
    assert max(map(len, classifier.names)) <= BATCH
    assert "left out 1 file whose names are not those of pictures, such as" in result.stderr
    assert "2 of 150 pictures failed" in result.stderr


def test_every_source_is_named_once_in_its_own_way(
    classifier: Classifier, run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "b.jpg", "c[1].jpg", "in/deep/d.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)
    words = ["in", "?.jpg", "c[1].jpg", "https://example.org/e.jpg", "-"]
    result = CliRunner().invoke(main, ["classify", *words, "--json", "--url", classifier.server.url], input=b"piped")
    found = {entry["file"]: entry["name"] for entry in lines(result.stdout)}
    assert list(found) == ["in/deep/d.png", "a.jpg", "b.jpg", "c[1].jpg", "https://example.org/e.jpg", "-"]
    assert (found["in/deep/d.png"], found["-"]) == ("deep/d.png", "stdin")
    (by_url,) = [request for request in classifier.server.requests if b"example.org" in request.body]
    assert json.loads(by_url.body) == {"inputs": [{"url": "https://example.org/e.jpg"}]}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["nowhere"], "'nowhere' is neither a file nor a folder nor a URL"),
        (["*.nothing"], "no file matches '*.nothing'"),
        ([], "Missing argument 'SOURCES...'"),
        (["."], "there are no pictures in it"),
        (["duck.png", "--resume"], "--resume needs the --out FILE"),
        (["duck.png", "--detach", "--out", "x"], "leave out --detach"),
        (["duck.png", "--webhook-secret", "x"], "needs --webhook URL"),
        (["duck.png", "--metadata", "x"], "'x' is not of the form KEY=VALUE"),
        (["duck.png", "--out", "full"], "full exists already; go on with it by --resume, or remove it"),
        (["duck.png", "--explain-label", "drake"], "needs --explain FOLDER"),
        (["duck.png", "--explain", "maps", "--detach"], "leave out --detach"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_sent(
    server: ToyServer, run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str],
    complaint: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").write_text("x")
    if words[:1] != ["."]:
        (tmp_path / "duck.png").write_bytes(b"quack")
    result = run("classify", *words)
    assert result.exit_code == 2
    assert complaint in " ".join(result.stderr.split())
    assert server.requests == []


def test_a_file_that_cannot_be_read_fails_alone(classifier: Classifier, run: Callable[..., Result], duck: Path) -> None:
    (duck.parent / "gone.png").symlink_to("nowhere")
    with Client(classifier.server.url) as client:
        sources = [Source("gone.png", duck.parent / "gone.png"), Source("duck.png", duck)]
        gone, there = client.jobs.map(sources)
    assert gone.prediction.error
    assert gone.prediction.error.message == "'gone.png' cannot be read: No such file or directory."
    assert there.prediction.results[0].label == TERRIER


def test_the_codes_of_pictures_are_all_that_the_service_has() -> None:
    def kinds(kind: type[errors.InferqError]) -> Iterator[str]:
        yield kind().code
        for below in kind.__subclasses__():
            yield from kinds(below)

    assert set(kinds(errors.BadPicture)) | {errors.NoInput().code, errors.TooLarge().code} == mapping.PICTURE_CODES


def test_each_picture_of_an_archive_has_an_answer_however_many_there_are(
    server: ToyServer, run: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "many.zip").write_bytes(b"PK\x03\x04")
    names = [f"{number}.jpg" for number in range(12)]
    streamed = [{"position": place, "name": name, "results": [{"label": "a, b", "score": 0.5}]}
                for place, name in enumerate(names)]  # fmt: skip
    server.on("POST /v1/jobs", (202, {}, job("QUEUED", progress={"total": 12})))
    server.on("GET /v1/jobs/j1", (200, {}, job("DONE", progress={"total": 12, "done": 12})))
    server.on("GET /v1/jobs/j1/results", (200, {}, "\n".join(map(json.dumps, streamed)).encode()))
    shown = run("classify", tmp_path / "many.zip").stdout
    assert [line.split()[0] for line in shown.splitlines()[1:]] == names
    assert shown.count("a, b") == 12


@pytest.mark.parametrize("archive", ["p.zip", "the_photographs_of_a_whole_year.zip"])
def test_the_rows_of_an_archive_stand_below_their_head(
    server: ToyServer, run: Callable[..., Result], tmp_path: Path, archive: str
) -> None:
    (tmp_path / archive).write_bytes(b"PK\x03\x04")
    names = ["a_rather_long_name.jpg", "b.jpg"]
    streamed = [{"position": place, "name": name, "results": [{"label": "tench", "score": 0.5}]}
                for place, name in enumerate(names)]  # fmt: skip
    server.on("POST /v1/jobs", (202, {}, job("QUEUED", progress={"total": 2})))
    server.on("GET /v1/jobs/j1", (200, {}, job("DONE", progress={"total": 2, "done": 2})))
    server.on("GET /v1/jobs/j1/results", (200, {}, "\n".join(map(json.dumps, streamed)).encode()))
    head, *rows = run("classify", tmp_path / archive).stdout.splitlines()
    assert [row.index("tench") for row in rows] == [head.index("label")] * 2
    assert head.index("label") == len("a_rather_long_name.jpg") + 2


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
def test_a_file_whose_name_is_not_utf_8_is_sent_written_and_resumed_by_a_name_that_is(
    classifier: Classifier, run: Callable[..., Result], tmp_path: Path, name: str
) -> None:
    folder, out = tmp_path / "photos", tmp_path / name
    folder.mkdir()
    try:
        Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.jpg")).write_bytes(b"coffee")
    except OSError:
        pytest.skip("this file system takes no such name")
    (folder / "tea.jpg").write_bytes(b"tea")
    result = run("classify", folder, "--out", out)
    assert (result.exit_code, classifier.sent) == (0, ["caf\ufffd.jpg", "tea.jpg"])
    text = out.read_text(encoding="utf-8")
    assert f"{folder}/caf\ufffd.jpg" in text
    assert run("classify", folder, "--out", out, "--resume").exit_code == 0
    assert len(classifier.sent) == 2
    assert out.read_text(encoding="utf-8") == text


def test_a_path_whose_name_is_not_utf_8_is_sent_by_the_client(classifier: Classifier, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg"))
    try:
        path.write_bytes(b"coffee")
    except OSError:
        pytest.skip("this file system takes no such name")
    with Client(classifier.server.url) as client:
        client.jobs.submit(path)
        (answered,) = client.jobs.map([Source(str(path), path)])
    assert classifier.names == [["caf\ufffd.jpg"]] * 2
    assert answered.prediction.error is None


# answers


def test_the_labels_of_each_file_are_shown(server: ToyServer, run: Callable[..., Result], duck: Path) -> None:
    predictions = [
        {"name": "duck.png", "results": [{"label": "drake", "score": 0.93}, {"label": "goose", "score": 0.02}]},
        {"name": "duck.png", "error": {"code": "broken", "message": "The image is damaged [sic]."}},
    ]
    answers(server, job("DONE", predictions=predictions))
    result = run("classify", duck, duck, "--top-k", 2, "--model", "m")
    assert result.exit_code == 1
    for words in ("duck.png", "drake", "0.9300", "goose", "The image is damaged [sic]."):
        assert words in result.stdout
    assert result.stderr == "1 of 2 pictures failed\n"
    assert b'name="top_k"\r\n\r\n2' in server.requests[0].body


def test_of_many_pictures_the_best_label_is_shown_unless_more_are_asked_for(
    classifier: Classifier, run: Callable[..., Result], photos: Path
) -> None:
    assert "goose" not in run("classify", photos / "0").stdout
    assert run("classify", photos / "0", "--top-k", 2).stdout.count("goose") == 74


def test_a_picture_without_a_label_is_said_to_have_none(
    server: ToyServer, run: Callable[..., Result], duck: Path
) -> None:
    answers(server, job("DONE", predictions=[{"name": "duck.png", "results": []}]))
    assert run("classify", duck).stdout.splitlines()[1] == f"{duck}  no label above its threshold"


def test_features_are_shown_by_their_number(server: ToyServer, run: Callable[..., Result], duck: Path) -> None:
    answers(server, job("DONE", predictions=[{"name": "duck.png", "featureVectors": [0.25, -1.5, 3.0, 4.0]}]))
    assert "4 features: 0.25, -1.5, 3, …" in run("classify", duck, "--task", "features").stdout


def test_csv_has_a_row_for_each_label_and_nothing_that_a_spreadsheet_would_run(
    server: ToyServer, run: Callable[..., Result], duck: Path
) -> None:
    results = [{"label": "=1+1", "score": 0.9}, {"label": "goose, grey", "score": 0.1}]
    answers(server, job("DONE", predictions=[{"name": "duck.png", "results": results}]))
    rows = [*csv.DictReader(io.StringIO(run("classify", duck, "--csv").stdout))]
    assert [(row["rank"], row["label"], row["score"], row["job"]) for row in rows] == [
        ("1", "'=1+1", "0.9", "j1"), ("2", "goose, grey", "0.1", "j1"),
    ]  # fmt: skip


def test_a_pipe_gets_plain_text_and_no_progress(classifier: Classifier, run: Callable[..., Result], duck: Path) -> None:
    result = run("classify", duck)
    assert "\x1b" not in result.output
    assert result.stderr == ""


@pytest.mark.slow
def test_a_terminal_of_80_columns_holds_every_line_and_shows_the_progress(
    classifier: Classifier, photos: Path, duck: Path
) -> None:
    shown = on_terminal(classifier.server.url, "classify", str(photos / "0"), str(duck))
    assert "76 pictures in" in shown
    assert "by m 1" in shown
    assert "of 76" in shown
    assert "…" in shown  # the names of the files, whose ends are shown
    visible = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert max(len(line.rpartition("\r")[2]) for line in visible.replace("\r\n", "\n").split("\n")) <= 80


def on_terminal(url: str, *words: str) -> str:
    """Return what the command prints on a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "80", "LINES": "24", "TERM": "xterm-256color", "INFERQ_URL": url}
    with subprocess.Popen(
        [sys.executable, "-m", "inferq", *words], cwd=REPOSITORY, env=environment, stdin=theirs, stdout=theirs,
        stderr=theirs,
    ):  # fmt: skip
        os.close(theirs)
        chunks = []
        try:
            while chunk := os.read(ours, 65536):
                chunks.append(chunk)
        except OSError:  # the end, on Linux
            pass
    os.close(ours)
    return b"".join(chunks).decode()


def test_a_job_that_has_failed_as_a_whole_is_exit_1_with_its_reason(
    server: ToyServer, run: Callable[..., Result], duck: Path
) -> None:
    answers(server, job("FAILED", error="broken", error_description="Nothing to see."))
    result = run("classify", duck)
    assert result.exit_code == 1
    assert result.stdout.count("Nothing to see.") == 1


def test_what_the_options_ask_for_is_sent(server: ToyServer, run: Callable[..., Result], duck: Path) -> None:
    answers(server, job("DONE", predictions=[{"name": "duck.png", "results": []}]))
    run("classify", duck, "--priority", "low", "--deadline", "60", "--webhook", "https://example.org/hook",
        "--webhook-secret", "s3", "--metadata", "order=7", "--metadata", "a=b=c")  # fmt: skip
    body = server.requests[0].body
    for sent in (
        b'name="priority"\r\n\r\nlow', b'name="deadline"\r\n\r\n60',
        b'name="metadata"\r\n\r\n{"order": "7", "a": "b=c"}',
        b'name="webhook"\r\n\r\n{"url": "https://example.org/hook", "secret": "s3"}',
    ):  # fmt: skip
        assert sent in body
    assert b"explain" not in body  # an older server does not know it
    assert b'name="model"' not in body


def test_heat_maps_are_written_beside_the_answers(
    server: ToyServer, run: Callable[..., Result], duck: Path, tmp_path: Path
) -> None:
    explanation = {"label": "drake", "method": "grad-cam", "link": "/v1/jobs/j1/explanations/0"}
    predictions = [
        {"name": "duck.png", "results": [{"label": "drake", "score": 0.93}], "explanation": explanation},
        {"name": "bad.png", "error": {"code": "broken", "message": "It is damaged."}},
        {"name": "odd.png", "results": [], "explanation": {"reason": "There is no label [sic]."}},
    ]
    answers(server, job("DONE", predictions=predictions))
    server.on("GET /v1/jobs/j1/explanations/0", (200, {"Content-Type": "image/png"}, "a PNG"))
    result = run("classify", duck, duck, duck, "--explain", tmp_path / "new" / "maps", "--explain-label", "drake")
    assert result.exit_code == 1, result.output
    assert [path.name for path in (tmp_path / "new" / "maps").iterdir()] == ["1-duck.png.png"]
    assert "a PNG" in (tmp_path / "new" / "maps" / "1-duck.png.png").read_text()
    assert "odd.png: no explanation: There is no label [sic]." in result.stderr
    assert b'name="explain"\r\n\r\ntrue' in server.requests[0].body
    assert b'name="explain_label"\r\n\r\ndrake' in server.requests[0].body


def test_heat_maps_have_the_same_numbers_when_a_command_goes_on_and_are_there_before_the_rows(
    classifier: Classifier, run: Callable[..., Result], tmp_path: Path
) -> None:
    folder, out, maps = tmp_path / "photos", tmp_path / "out.jsonl", tmp_path / "maps"
    for number in range(BATCH + 2):
        path = folder / f"{number:03}" / "a.jpg"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"picture %d" % number)

    def explained(request: ToyRequest) -> Answer:
        answer = classifier.submit(request)
        number = f"j{len(classifier.names)}"
        done = classifier.server.answers[f"GET /v1/jobs/{number}"][0]
        assert isinstance(done, tuple)
        for position, prediction in enumerate(done[2]["predictions"]):
            link = f"/v1/jobs/{number}/explanations/{position}"
            prediction["explanation"] = {"label": TERRIER, "link": link}
            classifier.server.on(f"GET {link}", (200, {}, f"map of {prediction['name']}".encode()))
        return answer

    def lose_a_map(request: ToyRequest) -> Answer:
        answer = explained(request)
        if b"000/a.jpg" not in request.body:
            lost = f"GET /v1/jobs/j{len(classifier.names)}/explanations/1"
            classifier.server.on(lost, (500, {}, {"code": "internal_error", "detail": "Lost."}))
        return answer

    command = ["classify", folder, "--out", out, "--explain", maps]
    classifier.server.on("POST /v1/jobs", lose_a_map)
    assert run(*command).exit_code == 1
    assert len(lines(out.read_text())) == BATCH  # no row without its map

    classifier.server.on("POST /v1/jobs", explained)
    assert run(*command, "--resume").exit_code == 0
    assert len(lines(out.read_text())) == BATCH + 2
    assert {path.name: path.read_text() for path in maps.iterdir()} == {
        f"{number + 1}-a.jpg.png": f"map of {number:03}/a.jpg" for number in range(BATCH + 2)
    }


def test_heat_maps_of_an_archive_are_numbered_within_it(
    server: ToyServer, run: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "two.zip").write_bytes(b"PK\x03\x04")
    predictions = [{"name": name, "explanation": {"label": "drake", "link": "/"}} for name in ("a.jpg", "b.jpg")]
    answers(server, job("DONE", predictions=predictions, progress={"total": 2, "done": 2}))
    for position in range(2):
        server.on(f"GET /v1/jobs/j1/explanations/{position}", (200, {}, b"a PNG"))
    archive, maps = tmp_path / "two.zip", tmp_path / "maps"
    assert run("classify", archive, archive, "--explain", maps).exit_code == 0
    names = ["1-1-a.jpg.png", "1-2-b.jpg.png", "2-1-a.jpg.png", "2-2-b.jpg.png"]
    assert sorted(path.name for path in maps.iterdir()) == names


def test_detached_prints_the_id_of_each_job_and_waits_for_none(
    classifier: Classifier, run: Callable[..., Result], photos: Path
) -> None:
    result = run("classify", photos / "0", "--detach")
    assert result.exit_code == 1
    assert result.stdout.split() == [f"j{number}" for number in range(1, len(classifier.names) + 1)]
    assert "090.jpg: 'bad.jpg' is not a picture" in result.stderr
    assert {request.method for request in classifier.server.requests} == {"POST"}


# patience


@pytest.mark.parametrize(
    "refusal",
    [(429, "too_many_requests"), (503, "unavailable")],
    ids=lambda refusal: str(refusal[0]),
)
def test_a_service_that_asks_for_patience_is_sent_the_same_again(
    classifier: Classifier, run: Callable[..., Result], duck: Path, refusal: tuple[int, str]
) -> None:
    status, code = refusal
    soon = (status, {"Retry-After": "0"}, {"code": code, "detail": "Soon."})
    classifier.server.on("POST /v1/jobs", soon, soon, classifier.submit)
    result = run("classify", duck)
    assert (result.exit_code, TERRIER in result.stdout) == (0, True)
    posts = [request for request in classifier.server.requests if request.method == "POST"]
    assert len(posts) == 3
    assert len({request.headers["idempotency-key"] for request in posts}) == 1


@pytest.mark.parametrize(
    "broken",
    [
        (200, {}, b'{"position": 0, "name": "0.jpg"}\n{"error": {"code": "incomplete", "message": "Ask again."}}\n'),
        (503, {"Retry-After": "0"}, {"code": "unavailable", "detail": "Ask again."}),
    ],
    ids=["they end early", "they do not begin"],
)
def test_results_that_cannot_be_read_at_this_moment_are_asked_for_again(
    server: ToyServer, run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: Answer
) -> None:
    monkeypatch.setattr(mapping, "_PAUSE", 0.0)
    (tmp_path / "many.zip").write_bytes(b"PK\x03\x04")
    streamed = [{"position": place, "name": f"{place}.jpg", "results": [{"label": "goose", "score": 0.5}]}
                for place in range(2)]  # fmt: skip
    server.on("POST /v1/jobs", (202, {}, job("QUEUED", progress={"total": 2})))
    server.on("GET /v1/jobs/j1", (200, {}, job("DONE", progress={"total": 2, "done": 2})))
    server.on("GET /v1/jobs/j1/results", broken, broken, (200, {}, "\n".join(map(json.dumps, streamed)).encode()))
    result = run("classify", tmp_path / "many.zip", "--json")
    assert (result.exit_code, [entry["name"] for entry in lines(result.stdout)]) == (0, ["0.jpg", "1.jpg"])


USED = {"code": "conflict", "detail": "The idempotency key 'k' was used for another request (job j0)."}


def test_a_url_with_other_bytes_at_a_repeated_request_gets_another_key_once(
    classifier: Classifier, run: Callable[..., Result]
) -> None:
    soon = (503, {"Retry-After": "0"}, {"code": "unavailable", "detail": "Soon."})
    classifier.server.on("POST /v1/jobs", soon, (409, {}, USED), classifier.submit)
    result = run("classify", "https://example.org/camera.jpg")
    assert (result.exit_code, TERRIER in result.stdout) == (0, True)
    keys = [request.headers["idempotency-key"] for request in classifier.server.requests if request.method == "POST"]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(("picture", "requests"), [("https://example.org/camera.jpg", 2), ("duck.png", 1)])
def test_a_key_that_is_used_again_and_again_ends_the_command(
    server: ToyServer, run: Callable[..., Result], duck: Path, monkeypatch: pytest.MonkeyPatch, picture: str,
    requests: int,
) -> None:  # fmt: skip
    monkeypatch.chdir(duck.parent)
    server.on("POST /v1/jobs", (409, {}, USED))
    assert run("classify", picture).exit_code == 1
    assert len(server.requests) == requests


def test_a_job_that_never_fits_into_the_queue_is_sent_as_several(
    classifier: Classifier, run: Callable[..., Result], photos: Path
) -> None:
    def most_20(request: ToyRequest) -> Answer:
        if request.body.count(b"filename=") > 20:
            return 400, {}, {"code": "too_many_files", "detail": "They are more than the 20 that may wait."}
        return classifier.submit(request)

    (photos / "0" / "090.jpg").write_bytes(b"good")
    classifier.server.on("POST /v1/jobs", most_20)
    assert run("classify", photos / "0", "--json").exit_code == 0
    assert len(classifier.sent) == 75


def test_a_model_that_is_loading_is_waited_for(classifier: Classifier, run: Callable[..., Result], duck: Path) -> None:
    loading = (409, {"Retry-After": "5"}, {"code": "model_not_ready", "detail": "It is being fetched."})
    classifier.server.on("POST /v1/jobs", loading, classifier.submit)
    classifier.server.on(
        "GET /v1/models/birds", (200, {}, model(version("checking"))), (200, {}, model(version("ready")))
    )
    assert run("classify", duck, "--model", "birds").exit_code == 0


def test_a_model_that_cannot_be_fetched_ends_the_command_with_the_reason(
    classifier: Classifier, run: Callable[..., Result], duck: Path
) -> None:
    loading = (409, {"Retry-After": "5"}, {"code": "model_not_ready", "detail": "It is being fetched."})
    absent = model(version("absent", reason="there is no network; give `weights`"))
    classifier.server.on("POST /v1/jobs", loading)
    classifier.server.on("GET /v1/default-model", (200, {}, complete(DefaultModel, model="birds", origin="service")))
    classifier.server.on("GET /v1/models/birds", (200, {}, model(version("checking"))), (200, {}, absent))
    result = run("classify", duck)
    assert (result.exit_code, result.stderr) == (1, "inferq: birds 1 is absent: there is no network; give --weights\n")


@pytest.mark.parametrize("status", [404, 409, 503, 507])
def test_a_refusal_that_waiting_does_not_change_ends_the_command(
    server: ToyServer, run: Callable[..., Result], duck: Path, status: int
) -> None:
    server.on("POST /v1/jobs", (status, {}, {"code": "no", "detail": "There is no model `m`."}))
    result = run("classify", duck)
    assert (result.exit_code, result.stderr) == (1, "inferq: There is no model `m`.\n")
    assert len(server.requests) == 1


def test_a_wait_that_is_over_says_how_long_it_was_and_how_to_go_on(
    server: ToyServer, run: Callable[..., Result], duck: Path
) -> None:
    answers(server, job("RUNNING"))
    result = run("classify", duck, "--timeout", 0.3)
    expected = "inferq: job j1 is not done after 0.3 s; wait for it with: inferq jobs wait j1"
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (1, expected)


def test_ctrl_c_says_how_to_get_the_answer_later(
    server: ToyServer, run: Callable[..., Result], duck: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    server.on("POST /v1/jobs", (202, {}, job("QUEUED")))
    monkeypatch.setattr("inferq.client.jobs.AsyncJobs.stream", interrupted)
    result = run("classify", duck)
    assert result.exit_code == 130
    assert "job j1 continues; wait for it with: inferq jobs wait j1" in result.stderr


def test_pictures_are_read_only_a_few_jobs_ahead_of_the_answers(
    server: ToyServer, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def counting(source: Source, index: int) -> File:
        opened.append(source.file)
        return read(source, index)

    read = map_sources.read
    monkeypatch.setattr(mapping, "read", counting)
    answers(server, job("RUNNING"))
    with Client(server.url) as client:
        sources = [Source(str(number), (f"{number}.jpg", b"x")) for number in range(20 * BATCH)]
        with pytest.raises(StillRunning):
            [*client.jobs.map(sources, timeout=0.5)]
    assert BATCH < len(opened) <= (mapping.AHEAD * mapping.CONCURRENCY + 1) * BATCH + 1


# going on


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
def test_what_was_interrupted_goes_on_where_it_was_and_nothing_is_asked_or_written_twice(
    classifier: Classifier, run: Callable[..., Result], photos: Path, tmp_path: Path, name: str
) -> None:
    out, good = tmp_path / name, photos / "0"
    (good / "090.jpg").write_bytes(b"good")

    def refuse_the_last(request: ToyRequest) -> Answer:
        is_last = b"picture 148" in request.body
        return (507, {}, {"code": "quota_exceeded", "detail": "Full."}) if is_last else classifier.submit(request)

    classifier.server.on("POST /v1/jobs", refuse_the_last)
    stopped = run("classify", good, "--out", out)
    assert stopped.exit_code == 1
    assert f"{BATCH} of 75 pictures are in {out}; go on with the same command and --resume" in stopped.stderr
    with out.open("rb+") as file:  # as if the process had been killed while it wrote
        file.truncate(file.seek(0, os.SEEK_END) - 3)
    (good / "000.jpg").write_bytes(b"other bytes")

    classifier.server.on("POST /v1/jobs", classifier.submit)
    sent_before = len(classifier.sent)
    assert run("classify", good, "--out", out, "--resume").exit_code == 0
    # With JSON the line before the one that was cut is written anew as well: it might belong to the same archive.
    cut = 126 if name.endswith("csv") else 124
    assert sorted(classifier.sent[sent_before:]) == ["000.jpg", *(f"{n:03}.jpg" for n in range(cut, 150, 2))]
    text = out.read_text()
    rows = [*csv.DictReader(io.StringIO(text))] if name.endswith("csv") else lines(text)
    answered = [row["file"] for row in rows if row.get("rank", "1") == "1"]
    assert sorted(set(answered)) == sorted(str(path) for path in good.iterdir())
    assert len(answered) == 76  # the picture with other bytes has the answer of before as well

    sent_before = len(classifier.sent)
    assert run("classify", good, "--out", out, "--resume").exit_code == 0
    assert len(classifier.sent) == sent_before
    assert out.read_text() == text


def test_a_picture_that_failed_is_tried_again_and_its_failure_goes_from_the_file(
    classifier: Classifier, run: Callable[..., Result], photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    assert run("classify", photos / "0", "--out", out).exit_code == 1
    assert [entry["name"] for entry in lines(out.read_text()) if "error" in entry] == ["090.jpg"]
    classifier.names.clear()
    (photos / "0" / "090.jpg").write_bytes(b"mended")
    assert run("classify", photos / "0", "--out", out, "--resume").exit_code == 0
    assert classifier.sent == ["090.jpg"]
    assert len([entry for entry in lines(out.read_text()) if "error" not in entry]) == 75 == len(lines(out.read_text()))


def test_a_file_with_other_things_in_it_is_not_changed(
    server: ToyServer, run: Callable[..., Result], duck: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.jsonl").write_text('{"a": 1}\n')
    result = run("classify", duck, "--out", tmp_path / "mine.jsonl", "--resume")
    assert (result.exit_code, server.requests) == (1, [])
    assert "holds other things than results" in result.stderr
    assert (tmp_path / "mine.jsonl").read_text() == '{"a": 1}\n'


def test_a_disk_that_is_full_is_named_with_how_to_go_on(
    classifier: Classifier, run: Callable[..., Result], duck: Path
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    result = run("classify", duck, "--out", "/dev/full")
    assert result.exit_code == 1
    assert "cannot write /dev/full: No space left on device" in result.stderr


# progress


def test_the_line_of_progress_tells_pace_and_time_left() -> None:
    progress = MapProgress(5000, 1250, 2, 0, "", ())
    line = progress_view.map_line(progress, 50.0).plain
    assert line.split() == ["1,250", "of", "5,000", "━━━━━···············", "50/s,", "75", "s", "left", "2", "failed"]
    assert "left" not in progress_view.map_line(progress, 0.0).plain
    assert progress_view.pace([(10.0, 100), (12.0, 300)]) == 100.0
    assert progress_view.pace([(10.0, 100)]) == 0.0
