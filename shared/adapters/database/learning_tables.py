"""The tables of models, and of what they learn from: datasets, trainings, comparisons, promotions."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

from shared.adapters.database.tables import ID, NAME, TIME, metadata

__all__ = [
    "canaries",
    "comparisons",
    "dataset_labels",
    "datasets",
    "example_labels",
    "examples",
    "metadata",
    "model_aliases",
    "model_versions",
    "promotions",
    "search_indexes",
    "seen_choices",
    "seen_pictures",
    "trainings",
]

model_versions = Table(
    "versions",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("name", NAME, nullable=False),
    Column("version", NAME, nullable=False),
    Column("is_default", Boolean, nullable=False),
    Column("family", NAME, nullable=False),
    Column("architecture", NAME, nullable=False),
    Column("state", String(12), nullable=False),
    Column("reason", Text, nullable=False),
    Column("labels", JSON, nullable=False),
    Column("preprocessing", JSON(none_as_null=True)),
    Column("source", Text, nullable=False),
    Column("weights", Text, nullable=False),
    Column("checksum", String(64), nullable=False),
    Column("example", JSON(none_as_null=True)),
    Column("max_batch", Integer, nullable=False),
    Column("max_delay_ms", Integer, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("created_at", TIME, nullable=False),
    Column("training_id", ID, nullable=False, server_default=text("''")),
    Column("withheld", Boolean, nullable=False, server_default=false()),
    Column("canary", Double, nullable=False, server_default=text("0")),
    Column("preset", JSON(none_as_null=True)),
    Column("wanted_preprocessing", JSON(none_as_null=True)),
    Column("import_options", JSON(none_as_null=True)),
    Column("config", JSON(none_as_null=True)),
    Column("problem_type", Text, nullable=False, server_default="single_label_classification"),
    Column("thresholds", JSON(none_as_null=True)),
    Column("rejection", JSON(none_as_null=True)),
    Column("size", BigInteger, nullable=False, server_default=text("0")),
    UniqueConstraint("tenant", "name", "version"),
)

datasets = Table(
    "datasets",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("tenant", NAME, nullable=False),
    Column("name", NAME, nullable=False),
    Column("state", String(12), nullable=False),
    Column("message", Text, nullable=False),
    Column("progress", Double, nullable=False),
    Column("version", Integer, nullable=False),
    Column("sealed", Boolean, nullable=False),
    Column("duplicates", Integer, nullable=False),
    Column("unreadable", Integer, nullable=False),
    Column("reasons", JSON, nullable=False),
    Column("contradicting", Integer, nullable=False, server_default=text("0")),
    Column("contradictions", JSON),
    Column("source", Text, nullable=False),
    Column("adding", Boolean, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("last_label", Integer, nullable=False),
    Column("last_example", Integer, nullable=False),
    Column("source_size", BigInteger, nullable=False, server_default=text("0")),
    Column("problem_type", Text, nullable=False, server_default="single_label_classification"),
    # All that the dataset keeps, counted by the queries that add and remove.
    Column("size", BigInteger, nullable=False, server_default=text("0")),
    Column("created_at", TIME, nullable=False),
    Column("updated_at", TIME, nullable=False),
    Index("ix_datasets_tenant_id", "tenant", "id"),
    # Only few datasets wait for the loader, or for maintenance to remove them.
    Index(
        "ix_datasets_moving",
        "state",
        sqlite_where=text("state IN ('LOADING', 'DELETING')"),
        postgresql_where=text("state IN ('LOADING', 'DELETING')"),
    ),
)

dataset_labels = Table(
    "dataset_labels",
    metadata,
    Column("dataset_id", BigInteger, nullable=False),
    Column("id", Integer, nullable=False),
    Column("name", NAME, nullable=False),
    PrimaryKeyConstraint("dataset_id", "id"),
    UniqueConstraint("dataset_id", "name"),
    ForeignKeyConstraint(["dataset_id"], ["datasets.id"], ondelete="CASCADE"),
)

examples = Table(
    "examples",
    metadata,
    Column("dataset_id", BigInteger, nullable=False),
    Column("id", Integer, nullable=False),
    Column("label_id", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("split", String(12), nullable=False),
    Column("source", String(8), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("blob", Text, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("size", Integer, nullable=False),
    Column("since", Integer, nullable=False),
    Column("until", Integer),
    Column("created_at", TIME, nullable=False),
    Column("fingerprint", BigInteger),
    PrimaryKeyConstraint("dataset_id", "id"),
    ForeignKeyConstraint(["dataset_id"], ["datasets.id"], ondelete="CASCADE"),
    Index("ix_examples_dataset_id_label_id", "dataset_id", "label_id"),
    # A dataset contains a picture once; a removed picture may be added again.
    Index(
        "uq_examples_dataset_id_sha256",
        "dataset_id",
        "sha256",
        unique=True,
        sqlite_where=text("until IS NULL"),
        postgresql_where=text("until IS NULL"),
    ),
)

example_labels = Table(
    "example_labels",
    metadata,
    Column("dataset_id", BigInteger, nullable=False),
    Column("example_id", Integer, nullable=False),
    Column("label_id", Integer, nullable=False),
    PrimaryKeyConstraint("dataset_id", "example_id", "label_id"),
    ForeignKeyConstraint(["dataset_id"], ["datasets.id"], ondelete="CASCADE"),
    Index("ix_example_labels_dataset_id_label_id", "dataset_id", "label_id"),
)
"""The labels of the examples of multi-label datasets, whose `examples.label_id` is 0."""

trainings = Table(
    "trainings",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("wire", String(40), nullable=False),
    Column("name", NAME, nullable=False),
    Column("title", NAME, nullable=False),
    Column("status", String(12), nullable=False),
    Column("dataset_id", BigInteger, nullable=False),
    Column("dataset_version", Integer, nullable=False),
    Column("base", NAME, nullable=False),
    Column("base_id", ID, nullable=False),
    Column("parameters", JSON, nullable=False),
    Column("promote", Boolean, nullable=False),
    Column("withheld", Boolean, nullable=False),
    Column("progress", Double, nullable=False),
    Column("message", Text, nullable=False),
    Column("curve", JSON, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("version_id", ID, nullable=False),
    Column("version", NAME, nullable=False),
    Column("error_code", String(80), nullable=False),
    Column("error", Text, nullable=False),
    Column("evidence", JSON(none_as_null=True)),
    Column("webhook", Text, nullable=False),
    Column("webhook_secret", Text, nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("created_at", TIME, nullable=False),
    Column("updated_at", TIME, nullable=False),
    Column("started_at", TIME),
    Column("finished_at", TIME),
    Index("ix_trainings_tenant_id", "tenant", "id"),
    # Finds the tenant to serve next without reading the large evidence column.
    Index("ix_trainings_tenant_started_at", "tenant", "started_at"),
    Index("ix_trainings_dataset_id", "dataset_id"),
    # Only one live training per model name.
    Index(
        "uq_trainings_tenant_name",
        "tenant",
        "name",
        unique=True,
        sqlite_where=text("status IN ('QUEUED', 'RUNNING')"),
        postgresql_where=text("status IN ('QUEUED', 'RUNNING')"),
    ),
)

comparisons = Table(
    "comparisons",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("name", NAME, nullable=False),
    Column("candidate_id", ID, nullable=False),
    Column("baseline_id", ID, nullable=False),
    Column("dataset_id", BigInteger, nullable=False),
    Column("dataset_version", Integer, nullable=False),
    Column("status", String(12), nullable=False),
    Column("error", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("report", JSON(none_as_null=True)),
    Column("created_at", TIME, nullable=False),
    Column("finished_at", TIME),
    Index("ix_comparisons_tenant_name", "tenant", "name"),
    Index("ix_comparisons_status", "status"),
)
"""Comparisons of two versions of a model on the same test pictures."""

promotions = Table(
    "promotions",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("name", NAME, nullable=False),
    Column("version_id", ID, nullable=False),
    Column("previous_id", ID, nullable=False),
    Column("created_at", TIME, nullable=False),
    Index("ix_promotions_tenant_name", "tenant", "name"),
)
"""Changes of a model's default version; a rollback follows them backwards."""

canaries = Table(
    "canaries",
    metadata,
    Column("version_id", ID, primary_key=True),
    Column("compared", BigInteger, nullable=False),
    Column("agreed", BigInteger, nullable=False),
    Column("since", TIME, nullable=False),
)
"""Counts of how often a version with a share of the traffic gave the same best label as the default."""

model_aliases = Table(
    "aliases",
    metadata,
    Column("tenant", NAME, nullable=False),
    Column("alias", NAME, nullable=False),
    Column("name", NAME, nullable=False),
    PrimaryKeyConstraint("tenant", "alias"),
)

search_indexes = Table(
    "search_indexes",
    metadata,
    Column("tenant", NAME, nullable=False),
    Column("stage", String(8), nullable=False),
    Column("dataset_id", BigInteger, nullable=False),
    Column("version_id", ID, nullable=False),
    Column("checksum", String(64), nullable=False),
    Column("wanted_at", TIME),
    Column("indexed_at", TIME),
    Column("unreadable", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    PrimaryKeyConstraint("tenant", "stage", "dataset_id", "version_id"),
)
"""The features of collections of pictures by a version; the features themselves are blobs."""

seen_choices = Table(
    "seen_choices",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", NAME, nullable=False),
    Column("model", NAME, nullable=False),
    Column("most", Integer, nullable=False),
    Column("days", Integer, nullable=False),
    Column("chosen_at", TIME, nullable=False),
    UniqueConstraint("tenant", "model"),
)
"""The models of which a tenant keeps the pictures that they have seen."""

seen_pictures = Table(
    "seen_pictures",
    metadata,
    Column("id", ID, primary_key=True),
    Column("choice_id", ID, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("version_id", ID, nullable=False),
    Column("job_id", ID, nullable=False),
    Column("name", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("score", Double, nullable=False),
    Column("uncertainty", Double, nullable=False),
    Column("is_unlike", Boolean, nullable=False),
    Column("size", Integer, nullable=False),
    Column("seen_at", TIME, nullable=False),
    Column("fingerprint", BigInteger),
    Column("settled", String(12), nullable=False),
    Column("image_id", ID, nullable=False),
    # Of length one, in half precision: 2.5 KB of 1280 numbers, removed with the row.
    Column("features", LargeBinary),
    UniqueConstraint("choice_id", "sha256"),
    ForeignKeyConstraint(["choice_id"], ["seen_choices.id"], ondelete="CASCADE"),
    # Counts and orders the pictures of a choice without reading their rows.
    Index("ix_seen_pictures_worth", "choice_id", "settled", "is_unlike", "uncertainty", "seen_at"),
    # Find those of a job that is erased, and of a stored image that is deleted.
    Index("ix_seen_pictures_job_id", "job_id"),
    Index(
        "ix_seen_pictures_image_id",
        "image_id",
        sqlite_where=text("image_id <> ''"),
        postgresql_where=text("image_id <> ''"),
    ),
)
"""Pictures of jobs that are kept because they seem worth labelling; their bytes are blobs."""
