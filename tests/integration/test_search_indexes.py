"""The rows of search indexes, on each kind of database: what is wanted, by whom, and what is left of what is gone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from shared.adapters.database.unit_of_work import Database
from shared.domain.searches import Collection, SearchIndex, image_key
from shared.services import searches, stored_images
from tests import dataset_fixtures
from tests.dataset_fixtures import Ground, picture

IMAGES = Collection("anna", stage="live")


@pytest.fixture
def ground(database: Database, tmp_path: Path) -> Ground:
    return dataset_fixtures.on(database, tmp_path)


def wanted(ground: Ground) -> list[tuple[str, str, int]]:
    with ground.container.database.read() as uow:
        return [(index.tenant, index.stage, index.dataset_id) for index in uow.search_indexes.wanted()]


def save(ground: Ground, *indexes: SearchIndex) -> None:
    with ground.container.database.write() as uow:
        for index in indexes:
            uow.search_indexes.save(index)


def test_a_search_that_misses_pictures_wants_an_index_once(ground: Ground) -> None:
    version = ground.version("fruits", checksum="0" * 64)
    dataset = Collection("anna", dataset_id=ground.dataset().id)
    for collection in (IMAGES, dataset, IMAGES):
        searches.want_index(ground.container, collection, version, 3)
    assert wanted(ground) == [("anna", "live", 0), ("anna", "", dataset.dataset_id)]
    assert ground.sent.count(("load",)) == 2


def test_pictures_that_could_not_be_read_are_tried_again_after_a_while_or_with_others(ground: Ground) -> None:
    version = ground.version("fruits", checksum="0" * 64)
    now = ground.container.now()
    done = SearchIndex("anna", "live", 0, version.id, version.checksum, indexed_at=now, unreadable=2)
    save(ground, done)
    searches.want_index(ground.container, IMAGES, version, 2)
    assert wanted(ground) == []
    searches.want_index(ground.container, IMAGES, version, 3)
    assert wanted(ground) == [("anna", "live", 0)]
    save(ground, replace(done, indexed_at=now - searches.AGAIN - 1))
    searches.want_index(ground.container, IMAGES, version, 2)
    assert wanted(ground) == [("anna", "live", 0)]


def test_a_removed_image_has_the_indexes_of_its_tenant_and_stage_looked_through(ground: Ground) -> None:
    version = ground.version("fruits", checksum="0" * 64)
    made = [SearchIndex(tenant, stage, 0, version.id, "0" * 64)
            for tenant in ("anna", "bert") for stage in ("live", "test")]  # fmt: skip
    save(ground, *made, replace(made[0], stage="", dataset_id=7))
    image = stored_images.store(ground.container, "anna", "live", picture(3))
    with ground.container.database.read() as uow:
        assert searches.members_of(uow, IMAGES) == {image_key(image.id): image.id}
        assert searches.members_of(uow, replace(IMAGES, tenant="bert")) == {}
    stored_images.delete(ground.container, "anna", "live", image.id)
    assert wanted(ground) == [("anna", "live", 0)]


def test_the_members_of_a_dataset_are_the_pictures_of_its_newest_version(ground: Ground) -> None:
    dataset = ground.dataset()
    with ground.container.database.read() as uow:
        members = searches.members_of(uow, Collection("anna", dataset_id=dataset.id))
        assert list(members.values()) == ground.ids(dataset)
        assert searches.members_of(uow, Collection("bert", dataset_id=dataset.id)) == {}
        assert uow.datasets.ids_of("anna") == [dataset.id]
        assert uow.datasets.ids_of("bert") == []


def test_an_index_without_its_version_or_its_dataset_is_an_orphan(ground: Ground) -> None:
    version = ground.version("fruits", checksum="0" * 64)
    dataset = ground.dataset()
    kept = [SearchIndex("anna", "live", 0, version.id, "0" * 64),
            SearchIndex("anna", "", dataset.id, version.id, "0" * 64)]  # fmt: skip
    gone = [replace(kept[0], version_id="gone"), replace(kept[1], dataset_id=7)]
    save(ground, *kept, *gone)
    with ground.container.database.write() as uow:
        orphans = uow.search_indexes.orphans()
        assert sorted(orphans, key=repr) == sorted(gone, key=repr)
        for index in orphans:
            uow.search_indexes.delete(index)
        assert [uow.search_indexes.find(index.collection, index.version_id) for index in kept] == kept
        assert uow.search_indexes.orphans() == []
