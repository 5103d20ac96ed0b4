"""Suspect labels: those of a dataset that its newest training doubts are listed, and kept or changed by a person."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from shared.container import Container, UnitOfWork
from shared.domain.datasets import Dataset, DatasetExample, changed
from shared.domain.jobs import Status
from shared.domain.suspects import Suspect, Suspects, kept_name
from shared.services import datasets


def find(container: Container, dataset: Dataset) -> Suspects:
    """Return the suspects of the dataset's version: examples that were removed, relabelled or kept are none."""
    with container.database.read() as uow:
        newest = uow.trainings.page(dataset.tenant, status=Status.DONE, dataset_id=dataset.id, limit=1)
        if not newest:
            return Suspects("", (), 0)
        evidence = uow.trainings.get(dataset.tenant, newest[0].id).evidence or {}
        doubted = evidence.get("suspects", ())
        found = {example_id: uow.datasets.find_example(dataset, example_id)
                 for example_id in dict.fromkeys(row["example"] for row in doubted)}  # fmt: skip
        kept = _kept(uow, dataset.id)
    suspects = [
        Suspect(example, row["label"], row["suggested"], row["score"])
        for row in doubted
        if (example := found[row["example"]]) and example.id not in kept
    ]
    return Suspects(
        newest[0].id, suspects, sum(example is not None and example.id in kept for example in found.values())
    )


def keep(container: Container, tenant: str, dataset_id: int, example_id: int) -> None:
    """Keep the labels of an example, which is no suspect from now on; raises NotFound."""
    with container.database.write() as uow:
        dataset = uow.datasets.get(tenant, dataset_id, lock=True)
        datasets.get_example(uow, dataset, example_id)
        uow.key_values.set(kept_name(dataset_id), json.dumps(sorted(_kept(uow, dataset_id) | {example_id})))


def relabel(
    container: Container, tenant: str, dataset_id: int, example_id: int, label_ids: Sequence[int]
) -> DatasetExample:
    """Give an example other labels: one, or any number in a multi-label dataset; returns it with a new id.

    Versions that were trained on keep it as it was. Its bytes are not copied. An example that has these labels is
    returned unchanged. Raises NotFound (dataset, example, label), BadOption (number of labels), Conflict (not READY).
    """
    names = datasets.names_of(container, tenant, dataset_id, label_ids)
    with container.database.write() as uow:
        dataset = datasets.get_changeable(uow, tenant, dataset_id)
        before = datasets.get_example(uow, dataset, example_id)
        wanted = tuple(sorted(set(label_ids)))
        if before.all_label_ids == wanted:
            return before
        after = changed(dataset, container.now())
        example = replace(before, id=dataset.last_example + 1, since=after.version)
        if dataset.is_multi_label:
            example = replace(example, label_ids=wanted, labels=names)
        else:
            example = replace(example, label_id=wanted[0], label=names[0])
        if before.since < after.version:
            uow.datasets.end_example(before, after.version)
        else:
            uow.datasets.delete_example(before)
        uow.datasets.add_examples([example])
        uow.datasets.count_bytes(dataset.id, -example.size)  # both examples have the same bytes, which count once
        uow.datasets.save(replace(after, last_example=example.id))
    return example


def _kept(uow: UnitOfWork, dataset_id: int) -> set[int]:
    return set(json.loads(uow.key_values.get(kept_name(dataset_id)) or "[]"))
