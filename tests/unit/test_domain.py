"""Rules of the domain: times in ids, versions by name, keys of blobs."""

from __future__ import annotations

import dataclasses
import importlib
import math
import pkgutil
import re
from dataclasses import replace
from typing import Any

import pytest
import uuid6

from shared import domain, errors
from shared.domain import datasets
from shared.domain.datasets import Dataset, DatasetLabel, DatasetState
from shared.domain.jobs import job_created_at
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
        importlib.import_module(f"{domain.__name__}.{module.name}") for module in pkgutil.iter_modules(domain.__path__)
    ]
    kinds = {kind for module in modules for kind in vars(module).values() if dataclasses.is_dataclass(kind)}
    assert len(kinds) > 20
    assert [kind for kind in kinds if not kind.__dataclass_params__.frozen] == []


def test_the_id_of_a_job_says_when_it_was_made() -> None:
    created_at = job_created_at("018bcfe5-6800-7000-8000-000000000000")
    assert created_at == 1_700_000_000.0
    assert job_created_at("018bcfe5-6801-7fff-bfff-ffffffffffff") == 1_700_000_000.001
    assert 0 <= uuid6.uuid7().time / 1000 - job_created_at(str(uuid6.uuid7())) + 1 < 2


def test_a_text_that_is_no_id_was_never_made() -> None:
    assert job_created_at("features-of-a-dataset") == math.inf
    assert image_created_at("image_?") == math.inf


@pytest.mark.parametrize("now", [0.0, 0.001, 1_700_000_000.123])
def test_the_id_of_an_image_says_when_it_was_made(now: float) -> None:
    image_id = new_id(now)
    assert image_created_at(image_id) == now
    assert len(image_id) == len("image_") + 24
    assert set(image_id.removeprefix("image_")) <= set("0123456789abcdefghijklmnopqrstuvwxyz")
    assert new_id(now) != image_id


def test_ids_of_images_sort_by_time() -> None:
    assert new_id(35 / 1000) < new_id(36 / 1000) < new_id(37 / 1000) < new_id(1_700_000_000.0)


def test_a_version_is_picked_by_its_name_or_as_the_default_or_as_the_last() -> None:
    first, second, third = version("1"), version("2", is_default=True), version("3")
    assert pick([first, second, third], "fruits", "3") is third
    assert pick([first, second, third], "fruits") is second
    assert pick([first, third], "fruits") is third
    with pytest.raises(errors.NotFound, match="Model 'fruits' has no version '4'; it has: 1, 3"):
        pick([first, third], "fruits", "4")
    with pytest.raises(errors.NotFound, match="There is no model 'fruits'"):
        pick([], "fruits")


def test_a_fresh_version_is_not_the_default_and_leaves_its_batches_to_the_settings() -> None:
    fresh = version("1")
    assert not fresh.is_default
    assert (fresh.max_batch, fresh.max_delay_ms, fresh.attempts, fresh.canary) == (0, 0, 0, 0.0)


@pytest.mark.parametrize(("numbers", "following"), [((), "1"), (("1",), "2"), (("2", "10", "9"), "11"), (("x",), "1")])
def test_the_next_version_is_one_more_than_the_highest_number(numbers: tuple[str, ...], following: str) -> None:
    assert next_version([version(number) for number in numbers]) == following


def test_blobs_of_versions_lie_where_earlier_versions_put_them() -> None:
    assert example_key("id") == "examples/id.png"
    assert trained_weights_key("id", "c0ffee") == "weights/id/c0ffee.safetensors"
    assert trained_weights_key("id") == "weights/id"
    assert plots_folder("id") == "plots/id"


@pytest.mark.parametrize(
    "flags",
    [(True, False, False, False, None), (False, True, False, True, None), (False, False, True, False, b"\0\xff")],
)
def test_a_stream_entry_is_read_as_it_was_written(flags: tuple[bool, bool, bool, bool, bytes | None]) -> None:
    entry = StreamEntry("job", 3, "jobs/1", 10, 20, "classify", 5, "softmax", *flags)
    read = StreamEntry.unpack(entry.pack(), "1-0", "inferq:lane:v:low:anna", 2)
    assert read == StreamEntry("job", 3, "jobs/1", 10, 20, "classify", 5, "softmax", *flags, "1-0",
                               "inferq:lane:v:low:anna", 2)  # fmt: skip
    assert read.tenant == "anna"


def test_a_stream_entry_is_written_as_older_workers_read_it() -> None:
    entry = StreamEntry("job", 3, "jobs/1", 10, 20, "classify", 5, "softmax", True)
    assert entry.pack() == {"e": '["job",3,"jobs/1",10,20,"classify",5,"softmax",1]'}
    with_thresholds = StreamEntry("job", 3, "jobs/1", 10, 20, "classify", 5, "sigmoid", True, with_thresholds=True)
    assert with_thresholds.pack() == {"e": '["job",3,"jobs/1",10,20,"classify",5,"sigmoid",1]', "t": "1"}


def test_the_id_of_a_dataset_says_its_millisecond_and_fits_into_53_bits() -> None:
    dataset_id = datasets.new_id(1_700_000_000.001)
    assert dataset_id >> 12 == 1_700_000_000_001
    assert datasets.new_id(2_199_023_255.551) < 2**53  # in the year 2039
    assert max(datasets.new_id(1.0) & 0xFFF for _ in range(100)) > 1000  # all of the last 12 bits are drawn


def test_a_name_has_up_to_its_longest_number_of_printable_characters() -> None:
    longest = "n" * datasets.LONGEST_NAME
    assert datasets.check_name(f" {longest} ", "dataset") == longest
    assert datasets.check_name("Ju\u0308tta", "label") == "Jütta"
    assert datasets.check_name("x", "label") == "x"
    for wrong in ("", "  ", longest + "n", "a\nb"):
        with pytest.raises(errors.BadOption, match=f"name of a dataset has 1 to {len(longest)} characters"):
            datasets.check_name(wrong, "dataset")
    with pytest.raises(errors.BadOption, match="the name of an alias has"):
        datasets.check_name("", "alias")


def test_the_file_name_of_an_example_keeps_its_end_and_nothing_unprintable() -> None:
    most = datasets.LONGEST_NAME
    assert datasets.file_name("x" * most + ".png") == "x" * (most - 4) + ".png"
    assert datasets.file_name("y" + "x" * (most - 1)) == "y" + "x" * (most - 1)
    assert datasets.file_name("a\nb.png") == "a\N{REPLACEMENT CHARACTER}b.png"


def test_a_change_opens_another_version_of_a_sealed_dataset_only() -> None:
    open_one = Dataset(1, "anna", "fruit", DatasetState.READY, 10.0, 10.0, message="an archive was unreadable")
    after = datasets.changed(open_one, 20.0)
    assert (after.version, after.sealed, after.message, after.updated_at) == (1, False, "", 20.0)
    after = datasets.changed(replace(open_one, sealed=True, version=3), 20.0)
    assert (after.version, after.sealed, after.created_at) == (4, False, 10.0)


def test_a_fresh_dataset_has_nothing_and_waits_for_nothing() -> None:
    fresh = Dataset(1, "anna", "fruit", DatasetState.READY, 10.0, 10.0)
    assert (fresh.version, fresh.sealed, fresh.progress, fresh.adding) == (1, False, 1.0, False)
    assert (fresh.attempts, fresh.duplicates, fresh.unreadable, fresh.last_label, fresh.last_example) == (0,) * 5
    assert DatasetLabel(1, 1, "pear").examples == 0


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (DatasetState.LOADING, "still being loaded; try again when it is ready"),
        (DatasetState.FAILED, r"unusable \(no picture\); delete it and send a better archive"),
        (DatasetState.DELETING, "being deleted"),
        (DatasetState.READY, "ready"),
    ],
)
def test_a_state_is_described_in_words_that_give_advice(state: DatasetState, words: str) -> None:
    dataset = Dataset(1, "anna", "fruit", state, 10.0, 10.0, message="no picture")
    assert re.fullmatch(words, datasets.describe_state(dataset))


def _warnings(contradicting: int = 0, **counts: int) -> list[str]:
    fresh = datasets.Dataset(1, "anna", "fruit", datasets.DatasetState.READY, 0.0, 0.0, contradicting=contradicting)
    return datasets.warnings(fresh, [datasets.DatasetLabel(1, n, name, count) for n, (name, count) in
                                     enumerate(counts.items())])  # fmt: skip


def test_labels_with_few_pictures_and_rare_ones_are_warned_of() -> None:
    assert _warnings(pear=10, plum=10) == []
    assert _warnings(pear=0, plum=0) == []
    [few] = _warnings(pear=9, plum=40, fig=0)
    assert few.startswith("Labels with fewer than 10 pictures: 'fig' (0), 'pear' (9).")
    assert _warnings(pear=20, plum=200, fig=200) == []
    [rare] = _warnings(pear=19, plum=200, fig=200)
    assert rare.startswith("Rare labels, while the median label has 200 pictures: 'pear' (19).")
    [many] = _warnings(**{f"label{n}": 1 for n in range(8)})
    assert "'label4' (1) and 3 more." in many
    assert _warnings(2, pear=10, plum=10)[0].startswith("Pictures that were sent under two labels: 2. ")
