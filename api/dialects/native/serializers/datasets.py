"""Serializers of datasets, labels and examples; these functions read only their arguments."""

from __future__ import annotations

from api.context import link
from shared.domain.datasets import Dataset, DatasetExample, DatasetLabel, Inventory, join_labels, warnings
from shared.domain.near_duplicates import NearDuplicates
from shared.domain.suspects import Suspects
from shared.schemas import datasets as schemas
from shared.schemas.common import moment_at


def dataset(dataset: Dataset, held: Inventory, listed: int | None = None) -> schemas.Dataset:
    """Return a dataset with what its current version holds; `listed` is the most labels that are written, None for
    all."""
    path = link(f"/v1/datasets/{dataset.id}")
    return schemas.Dataset(
        id=dataset.id,
        name=dataset.name,
        problem_type=dataset.problem_type,
        state=dataset.state,
        message=dataset.message,
        progress=dataset.progress,
        version=dataset.version,
        examples=held.examples,
        labels=[label(each) for each in held.labels[:listed]],
        label_count=len(held.labels),
        splits=dict(held.splits),
        duplicates=dataset.duplicates,
        unreadable=dataset.unreadable,
        reasons=[schemas.UnreadableFile(path=path, why=why) for path, why in dataset.reasons],
        contradicting=dataset.contradicting,
        contradictions=[
            schemas.Contradiction(labels=list(each.labels), paths=list(each.paths), example=each.example)
            for each in dataset.contradictions
        ],
        warnings=warnings(dataset, held.labels),
        created_at=moment_at(dataset.created_at),
        updated_at=moment_at(dataset.updated_at),
        links=schemas.DatasetLinks(
            self=path, labels=f"{path}/labels", examples=f"{path}/examples", duplicates=f"{path}/duplicates"
        ),
    )


def label(label: DatasetLabel) -> schemas.DatasetLabel:
    """Return a label with its current number of examples."""
    return schemas.DatasetLabel(id=label.id, name=label.name, examples=label.examples)


def example_path(example: DatasetExample) -> str:
    """Return the path of an example."""
    return f"/v1/datasets/{example.dataset_id}/examples/{example.id}"


def example(example: DatasetExample) -> schemas.Example:
    """Return one labelled picture, without its bytes."""
    path = link(example_path(example))
    labelled = zip(example.all_label_ids, example.all_labels, strict=True)
    return schemas.Example(
        id=example.id,
        name=example.name,
        label=schemas.ExampleLabel(id=example.label_id, name=example.label) if example.label else None,
        labels=[schemas.ExampleLabel(id=label_id, name=name) for label_id, name in labelled],
        split=example.split,
        source=example.source,
        size=example.size,
        sha256=example.sha256,
        created_at=moment_at(example.created_at),
        links=schemas.ExampleLinks(self=path, picture=f"{path}/picture"),
    )


def duplicates(found: NearDuplicates, most: int) -> schemas.DuplicateGroups:
    """Return near-duplicates, `most` groups of them at most."""
    labels = [sorted({join_labels(example.all_labels) for example in group}) for group in found.groups]
    splits = [sorted({str(example.split) for example in group}) for group in found.groups]
    listed = list(zip(labels, splits, found.groups, strict=True))[:most]
    return schemas.DuplicateGroups(
        groups=[
            schemas.DuplicateGroup(labels=labels, splits=splits, examples=[example(each) for each in group])
            for labels, splits, group in listed
        ],
        total=len(found.groups),
        contradicting=sum(len(each) > 1 for each in labels),
        across=sum(len(each) > 1 for each in splits),
        uncompared=found.uncompared,
    )


def suspects(found: Suspects) -> schemas.SuspectList:
    """Return the suspects of a dataset."""
    return schemas.SuspectList(
        training=found.training_id or None,
        suspects=[
            schemas.SuspectExample(
                example=example(each.example), label=each.label, suggested=each.suggested, score=each.score
            )
            for each in found.suspects
        ],
        kept=found.kept,
    )
