"""The small rules of the domain: what an id says of its time, what a key may do, which name stands for what."""

from __future__ import annotations

import dataclasses
import importlib
import math
import pkgutil
from typing import Any

import pytest
import uuid6

from shared import domain, errors
from shared.domain.jobs import job_created_at
from shared.domain.keys import Caller, is_loopback
from shared.domain.models import (
    ModelState,
    ModelVersion,
    example_key,
    next_version,
    pick,
    plots_folder,
    trained_weights_key,
)
from shared.domain.stored_images import image_created_at, new_id
from shared.domain.stream_entry import StreamEntry


def version(number: str, **about: Any) -> ModelVersion:
    return ModelVersion(number, "anna", "fruits", number, "timm", "resnet18", ModelState.READY, 0.0, **about)


def test_everything_that_the_domain_describes_is_immutable() -> None:
    modules = [
        importlib.import_module(f"{domain.__name__}.{found.name}") for found in pkgutil.iter_modules(domain.__path__)
    ]
    kinds = {kind for module in modules for kind in vars(module).values() if dataclasses.is_dataclass(kind)}
    assert len(kinds) > 20
    assert [kind for kind in kinds if not kind.__dataclass_params__.frozen] == []


def test_the_id_of_a_job_says_when_it_was_made() -> None:
    made = job_created_at("018bcfe5-6800-7000-8000-000000000000")
    assert made == 1_700_000_000.0
    assert job_created_at("018bcfe5-6801-7fff-bfff-ffffffffffff") == 1_700_000_000.001
    assert 0 <= uuid6.uuid7().time / 1000 - job_created_at(str(uuid6.uuid7())) + 1 < 2


def test_a_text_that_is_no_id_was_never_made() -> None:
    assert job_created_at("features-of-a-dataset") == math.inf
    assert image_created_at("image_?") == math.inf


@pytest.mark.parametrize("now", [0.0, 0.001, 1_700_000_000.123])
def test_the_id_of_an_image_says_when_it_was_made(now: float) -> None:
    made = new_id(now)
    assert image_created_at(made) == now
    assert len(made) == len("image_") + 24
    assert set(made.removeprefix("image_")) <= set("0123456789abcdefghijklmnopqrstuvwxyz")
    assert new_id(now) != made


def test_ids_of_images_sort_by_time() -> None:
    assert new_id(35 / 1000) < new_id(36 / 1000) < new_id(37 / 1000) < new_id(1_700_000_000.0)


def test_a_caller_may_do_what_its_key_is_for() -> None:
    caller = Caller("anna", ("infer", "models"))
    caller.must("infer")
    with pytest.raises(errors.Forbidden, match="lacks the scope 'keys'; it has: infer, models"):
        caller.must("keys")
    with pytest.raises(errors.Forbidden, match="it has: none"):
        Caller("anna", ()).must("infer")


@pytest.mark.parametrize("host", ["localhost", "::1", "127.0.0.1", "127.8.9.10"])
def test_these_hosts_are_reached_from_this_machine_only(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "10.0.0.1", "128.127.0.1", "localhost.example.org"])
def test_these_hosts_are_reached_from_elsewhere(host: str) -> None:
    assert not is_loopback(host)


def test_a_version_is_picked_by_its_name_or_as_the_default_or_as_the_last() -> None:
    first, second, third = version("1"), version("2", is_default=True), version("3")
    assert pick([first, second, third], "fruits", "3") is third
    assert pick([first, second, third], "fruits") is second
    assert pick([first, third], "fruits") is third
    with pytest.raises(errors.NotFound, match="Model 'fruits' has no version '4'; it has: 1, 3"):
        pick([first, third], "fruits", "4")
    with pytest.raises(errors.NotFound, match="There is no model 'fruits'"):
        pick([], "fruits")


@pytest.mark.parametrize(("numbers", "following"), [((), "1"), (("1",), "2"), (("2", "10", "9"), "11"), (("x",), "1")])
def test_the_next_version_is_one_more_than_the_highest_number(numbers: tuple[str, ...], following: str) -> None:
    assert next_version([version(number) for number in numbers]) == following


def test_blobs_of_versions_lie_where_earlier_versions_put_them() -> None:
    assert example_key("id") == "examples/id.png"
    assert trained_weights_key("id", "c0ffee") == "weights/id/c0ffee.safetensors"
    assert trained_weights_key("id") == "weights/id"
    assert plots_folder("id") == "plots/id"


@pytest.mark.parametrize(("exif", "remember"), [(True, False), (False, True)])
def test_a_stream_entry_is_read_as_it_was_written(exif: bool, remember: bool) -> None:
    entry = StreamEntry("job", 3, "jobs/1", 10, 20, "classify", 5, "softmax", exif, remember)
    read = StreamEntry.unpack(entry.pack(), "1-0", "inferq:lane:v:low:anna", 2)
    assert read == StreamEntry("job", 3, "jobs/1", 10, 20, "classify", 5, "softmax", exif, remember, "1-0",
                               "inferq:lane:v:low:anna", 2)  # fmt: skip
    assert read.tenant == "anna"


def test_a_stream_entry_is_written_as_older_workers_read_it() -> None:
    entry = StreamEntry("job", 3, "jobs/1", 10, 20, "classify", 5, "softmax", True)
    assert entry.pack() == {"e": '["job",3,"jobs/1",10,20,"classify",5,"softmax",1]'}
