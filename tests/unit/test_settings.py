"""Settings: each is read from its variable or its usual name, and an unreadable value is refused with its name."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

import worker.__main__
from api import __main__ as api
from api import setup
from inferq.stack import data_dir, stack
from migrations import __main__ as migrations
from shared.settings import Settings, choices, from_environment

ROOT = Path(__file__).resolve().parents[2]


def test_an_empty_environment_gives_the_embedded_stack_in_the_data_folder() -> None:
    settings = from_environment({"INFERQ_DATA": "/data"})
    assert settings.database_url == "sqlite:////data/inferq.db"
    assert settings.storage_url == "file:///data/blobs"
    assert settings.host == "127.0.0.1"


def test_every_setting_has_a_variable() -> None:
    shown = {str: "text", int: "17", float: "17.5", bool: "true"}
    defaults = dict(Settings())
    texts = {name: (choices(name) or [shown[type(value)]])[-1] for name, value in defaults.items()}

    settings = from_environment({f"INFERQ_{name.upper()}": text for name, text in texts.items()})

    for name, value in settings:
        expected = {str: texts[name], int: 17, float: 17.5, bool: True}[type(defaults[name])]
        assert value == expected, name
        assert type(value) is type(defaults[name]), name


def test_every_default_is_allowed() -> None:
    Settings.model_validate(dict(Settings()))
    from_environment({f"INFERQ_{name.upper()}": str(value) for name, value in Settings()})


@pytest.mark.parametrize("secret", ["any words", "whsec_c2VjcmV0IGJ5dGVz"])
def test_a_webhook_secret_that_can_sign_is_taken(secret: str) -> None:
    assert from_environment({"INFERQ_WEBHOOK_SECRET": secret}).webhook_secret == secret


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL", "STORAGE_URL"])
def test_the_usual_names_work_too_and_ours_win(name: str) -> None:
    assert getattr(from_environment({name: "usual"}), name.lower()) == "usual"
    assert getattr(from_environment({name: "usual", f"INFERQ_{name}": "ours"}), name.lower()) == "ours"


def test_an_empty_variable_is_as_good_as_none() -> None:
    assert from_environment({"INFERQ_PORT": ""}).port == Settings().port


@pytest.mark.parametrize(
    ("text", "expected"), [("1", True), ("yes", True), ("True", True), ("0", False), ("no", False), ("FALSE", False)]
)
def test_flags_are_read_in_the_usual_words(text: str, expected: bool) -> None:
    assert from_environment({"INFERQ_COMPILE": text}).compile is expected


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"INFERQ_PORT": "eighty"}, "INFERQ_PORT must be a whole number from 0 to 65535, not 'eighty'"),
        ({"INFERQ_PORT": "99999"}, "INFERQ_PORT must be a whole number from 0 to 65535, not '99999'"),
        ({"INFERQ_PORT": "80.5"}, "INFERQ_PORT must be a whole number from 0 to 65535, not '80.5'"),
        ({"INFERQ_LEASE": "6s"}, "INFERQ_LEASE must be a number from 0.1 to 604800, not '6s'"),
        ({"INFERQ_LEASE": "0"}, "INFERQ_LEASE must be a number from 0.1 to 604800, not '0'"),
        ({"INFERQ_LEASE": "nan"}, "INFERQ_LEASE must be a number from 0.1 to 604800, not 'nan'"),
        ({"INFERQ_MAX_ASPECT": "inf"}, "INFERQ_MAX_ASPECT must be a number from 1 up, not 'inf'"),
        ({"INFERQ_API_THREADS": "-4"}, "INFERQ_API_THREADS must be a whole number from 1 to 10000, not '-4'"),
        ({"INFERQ_MAX_QUEUED": "-1"}, "INFERQ_MAX_QUEUED must be a whole number from 0 up, not '-1'"),
        ({"INFERQ_PRECISION": "fp17"}, "INFERQ_PRECISION must be exact or fast, not 'fp17'"),
        (
            {"INFERQ_PRECISION": "float32"},
            "INFERQ_PRECISION must be exact or fast, not 'float32'; write exact, its new name",
        ),
        (
            {"INFERQ_PRECISION": "bfloat16"},
            "INFERQ_PRECISION must be exact or fast, not 'bfloat16'; write fast, its new name",
        ),
        ({"INFERQ_LOG_LEVEL": "LOUD"}, "INFERQ_LOG_LEVEL must be DEBUG, INFO, WARNING or ERROR, not 'LOUD'"),
        *(
            (
                {"INFERQ_WEBHOOK_SECRET": secret},
                "INFERQ_WEBHOOK_SECRET must be base64 after whsec_, as `openssl rand -base64 32` makes it",
            )
            for secret in ("whsec_a", "whsec_\u00e9", "whsec_", "whsec_%%")
        ),
        ({"INFERQ_COMPILE": "maybe"}, "INFERQ_COMPILE must be true or false, not 'maybe'"),
        ({"INFERQ_COMPILE": "\udcff"}, r"INFERQ_COMPILE must be true or false, not '\udcff'"),
        ({"INFERQ_LEESE": "2"}, "INFERQ_LEESE is no setting; is it INFERQ_LEASE?"),
        ({"INFERQ_port": "80"}, "INFERQ_port is no setting; is it INFERQ_PORT?"),
        ({"INFERQ_XYZZY": "2"}, "INFERQ_XYZZY is no setting; docs/settings.md lists them"),
        (
            {"INFERQ_COMPILE": "a\nb", "INFERQ_LEESE": "2"},
            "INFERQ_COMPILE must be true or false, not 'a\\nb'; INFERQ_LEESE is no setting; is it INFERQ_LEASE?",
        ),
    ],
)
def test_what_cannot_be_taken_is_refused_in_one_line_with_its_name(environ: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(says)}$"):
        from_environment(environ)


@pytest.mark.parametrize("name", [name for name, value in Settings() if type(value) in (int, float)])
@pytest.mark.parametrize("text", ["-1", "nan", "inf", "many"])
def test_no_number_takes_nonsense(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=f"^INFERQ_{name.upper()} must be a (whole )?number from "):
        from_environment({f"INFERQ_{name.upper()}": text})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("INFERQ_URL", "http://127.0.0.1:8000"),
        ("INFERQ_KEY", "key"),
        (data_dir.STACK_VARIABLE, "/data"),
        ("INFERQ_TEST_POSTGRES", "postgresql://"),
        ("INFERQ_SERVICE_HOST", "10.0.0.7"),  # Kubernetes, of a service inferq and one inferq-redis
        ("INFERQ_SERVICE_PORT_HTTP", "8000"),
        ("INFERQ_PORT_8000_TCP_ADDR", "10.0.0.7"),
        ("INFERQ_REDIS_PORT", "tcp://10.0.0.8:6379"),
        ("INFERQ_LEESE", ""),
        ("OTHER_LEESE", "2"),
        *((f"INFERQ_{name}", "sqlite://") for name in stack.OWN),
        *((name, "2") for name in re.findall(r"\b(INFERQ_\w+):-", (ROOT / "docker-compose.yml").read_text())),
    ],
)
def test_variables_that_others_read_are_no_mistake(name: str, text: str) -> None:
    assert from_environment({name: text})


@pytest.mark.parametrize("start", [setup.main, api.main, migrations.main, worker.__main__.main])
def test_every_part_of_the_service_refuses_to_start_with_one_line(
    start: Callable[[], int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["part"])
    monkeypatch.setenv("INFERQ_LEASE", "0")
    assert start() == 2
    assert capsys.readouterr().err == "inferq: INFERQ_LEASE must be a number from 0.1 to 604800, not '0'\n"


def test_a_trainer_without_a_database_for_its_broker_refuses_to_start_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.nice", lambda _: 0)
    assert worker.__main__.train(Settings(redis_url="redis://host/zero")) == 2
    error = capsys.readouterr().err
    assert error.startswith("inferq: this worker cannot start: INFERQ_REDIS_URL must end with the number of a database")
    assert error.count("\n") == 1


def test_settings_made_in_code_do_not_read_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INFERQ_PORT", "PORT", "port"):
        monkeypatch.setenv(name, "9000")
    assert Settings(lease=0.2).port == 8000
    assert Settings().changed(lease=0.2).port == 8000


def test_changed_settings_are_checked_and_the_old_ones_stay() -> None:
    settings = Settings(port=1)
    assert settings.changed(lease=0.2) == Settings(port=1, lease=0.2)
    assert settings == Settings(port=1)
    for wrong in ({"lease": 0}, {"leese": 0.2}):
        with pytest.raises(ValidationError):
            settings.changed(**wrong)


def test_settings_cannot_be_changed_afterwards_and_are_keys() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1
    assert {Settings(): "found"}[Settings()] == "found"


def test_celerys_keys_live_below_our_prefix() -> None:
    assert Settings(prefix="mine:").broker_prefix == "mine:celery:"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://host:6379/0", "redis://host:6379/1"),
        ("redis://host:6379/7", "redis://host:6379/8"),
        ("redis://host", "redis://host/1"),
        ("redis://host:6379/", "redis://host:6379/1"),
        ("redis://:s%2Fcr%3Fet@host:6379/2", "redis://:s%2Fcr%3Fet@host:6379/3"),
        ("redis://[::1]:6379", "redis://[::1]:6379/1"),
        (
            "rediss://anna:secret@host:6380/0?ssl_cert_reqs=required",
            "rediss://anna:secret@host:6380/1?ssl_cert_reqs=required",
        ),
        ("unix:///run/redis.sock", "unix:///run/redis.sock?db=1"),
        ("unix:///run/redis.sock?db=3", "unix:///run/redis.sock?db=4"),
        ("unix://:secret@/run/redis.sock?client_name=us&db=3", "unix://:secret@/run/redis.sock?client_name=us&db=4"),
    ],
)
def test_notifications_of_trainings_go_to_the_next_database(url: str, expected: str) -> None:
    assert Settings(redis_url=url).training_broker_url == expected


def test_notifications_of_trainings_go_where_the_setting_says() -> None:
    settings = from_environment({"REDIS_URL": "redis://host/0", "INFERQ_TRAINING_REDIS_URL": "redis://other/0"})
    assert settings.training_broker_url == "redis://other/0"


@pytest.mark.parametrize("url", ["redis://host/zero", "redis://host/0/", "unix:///run/redis.sock?db=zero"])
def test_a_database_without_a_number_has_no_next_one(url: str) -> None:
    with pytest.raises(ValueError, match="INFERQ_REDIS_URL must end with the number of a database"):
        _ = Settings(redis_url=url).training_broker_url
