"""Settings: every one from its variable, the usual names too, and what cannot be read is said by name."""

from __future__ import annotations

import dataclasses

import pytest

from shared.settings import Settings, from_environment


def test_an_empty_environment_gives_the_embedded_stack_in_the_data_folder() -> None:
    settings = from_environment({"INFERQ_DATA": "/data"})
    assert settings.database_url == "sqlite:////data/inferq.db"
    assert settings.storage_url == "file:///data/blobs"
    assert settings.host == "127.0.0.1"


def test_every_setting_has_a_variable() -> None:
    shown = {str: "text", int: "17", float: "17.5", bool: "true"}
    environ = {f"INFERQ_{f.name.upper()}": shown[type(f.default)] for f in dataclasses.fields(Settings)}

    settings = from_environment(environ)

    for field in dataclasses.fields(Settings):
        expected = {str: "text", int: 17, float: 17.5, bool: True}[type(field.default)]
        assert getattr(settings, field.name) == expected, field.name


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
        ({"INFERQ_PORT": "eighty"}, "INFERQ_PORT must be a number, not 'eighty'"),
        ({"INFERQ_LEASE": "6s"}, "INFERQ_LEASE must be a number"),
        ({"INFERQ_COMPILE": "maybe"}, "INFERQ_COMPILE must be true or false, not 'maybe'"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_name(environ: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        from_environment(environ)


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]


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
def test_bells_for_trainings_ring_in_the_next_database(url: str, expected: str) -> None:
    assert Settings(redis_url=url).training_broker_url == expected


def test_bells_for_trainings_ring_where_they_are_told_to() -> None:
    settings = from_environment({"REDIS_URL": "redis://host/0", "INFERQ_TRAINING_REDIS_URL": "redis://other/0"})
    assert settings.training_broker_url == "redis://other/0"


@pytest.mark.parametrize("url", ["redis://host/zero", "redis://host/0/", "unix:///run/redis.sock?db=zero"])
def test_a_database_without_a_number_has_no_next_one(url: str) -> None:
    with pytest.raises(ValueError, match="INFERQ_REDIS_URL must end with the number of a database"):
        _ = Settings(redis_url=url).training_broker_url
