"""Imports of archives: all of an archive is stored in one commit, or nothing of it, whatever fails meanwhile."""

from __future__ import annotations

import io
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest
from PIL import Image

from shared import errors
from shared.adapters.database.unit_of_work import Database
from shared.adapters.storage import Writer
from shared.container import Container
from shared.domain import lock_names, near_duplicates
from shared.domain.datasets import REASONS, Contradiction, Dataset, DatasetExample, DatasetState, Split
from shared.domain.jobs import job_created_at
from shared.services import absences, dataset_import, dataset_import_runs, datasets, maintenance
from tests.unit.archive_files import Files, as_tgz, as_txz, as_zip
from tests.unit.toy_server import serving


@dataclass
class Shelf:
    """A container, with what a caller and a trainer do with datasets."""

    container: Container
    called: list[tuple[str, ...]]

    def create(self, archive: bytes) -> Dataset:
        return datasets.create(self.container, "anna", "fruit", source=self.upload(archive))

    def add(self, dataset: Dataset, archive: bytes) -> Dataset:
        return datasets.add_archive(self.container, "anna", dataset.id, self.upload(archive))

    def upload(self, archive: bytes) -> str:
        return dataset_import.keep_upload(self.container, "anna", io.BytesIO(archive))

    def load(self, dataset: Dataset, stopping: threading.Event | None = None) -> Dataset:
        dataset_import.load(self.container, dataset.id, stopping)
        return self.again(dataset)

    def loaded(self, files: Files) -> Dataset:
        return self.load(self.create(as_zip(files)))

    def again(self, dataset: Dataset) -> Dataset:
        return datasets.get(self.container, "anna", dataset.id)

    def examples(self, dataset: Dataset) -> list[DatasetExample]:
        with self.container.database.read() as uow:
            return uow.datasets.examples(dataset)

    def labels(self, dataset: Dataset) -> dict[str, int]:
        return {label.name: label.examples for label in datasets.labels(self.container, "anna", dataset.id)}

    def seal(self, dataset: Dataset) -> Dataset:
        """Seal the current version of a dataset, as a training does."""
        with self.container.database.write() as uow:
            uow.datasets.save(replace(dataset, sealed=True))
        return self.again(dataset)

    def blobs(self, dataset: Dataset) -> list[str]:
        return self.container.storage.list(f"datasets/{dataset.id}")

    def uploads(self) -> list[str]:
        return self.container.storage.list("uploads")

    def among(self, **settings: object) -> Shelf:
        return replace(self, container=replace(self.container, settings=self.container.settings.changed(**settings)))

    def later(self, seconds: float) -> Container:
        return replace(self.container, now=lambda: time.time() + seconds)


@pytest.fixture
def shelf(container: Container, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    called: list[tuple[str, ...]] = []

    def send_task(*task: str) -> bool:
        called.append(task)
        return True

    monkeypatch.setattr(container.queue.notifications, "send_task", send_task)
    return Shelf(replace(container, settings=container.settings.changed(fetch_private=True)), called)


@pytest.fixture
def each(shelf: Shelf, database: Database) -> Shelf:
    """A shelf on each kind of database."""
    return replace(shelf, container=replace(shelf.container, database=database))


def png(color: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (color % 256, color // 256, 7)).save(file, "PNG")
    return file.getvalue()


def huge_png() -> bytes:
    """Return a PNG header of 100,000 x 100,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IDAT"


def cut_jpeg() -> bytes:
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(file, "JPEG")
    return file.getvalue()[:-400]


def misplaced_zip() -> bytes:
    """Return a zip whose directory says that its members begin ten bytes before it."""
    good = as_zip(FRUIT)
    (start,) = struct.unpack("<I", good[-6:-2])
    return good[:-6] + struct.pack("<I", start + 10) + good[-2:]


FRUIT: Files = [("red/1.png", png(1)), ("green/2.png", png(2)), ("red/3.png", png(3)), ("green/4.png", png(4))]


# valid archives


@pytest.mark.parametrize("pack", [as_zip, as_tgz, as_txz])
def test_an_archive_of_label_folders_becomes_examples(each: Shelf, pack: Callable[[Files], bytes]) -> None:
    before = each.create(pack(FRUIT))
    assert before.state is DatasetState.LOADING
    assert ("load",) in each.called

    dataset = each.load(before)

    assert (dataset.state, dataset.message, dataset.progress, dataset.source) == (DatasetState.READY, "", 1.0, "")
    assert (dataset.version, dataset.duplicates, dataset.unreadable, dataset.attempts) == (1, 0, 0, 0)
    assert each.labels(dataset) == {"green": 2, "red": 2}
    examples = each.examples(dataset)
    assert [(example.id, example.label, example.name, example.split) for example in examples] == [
        (1, "red", "1.png", Split.OPEN),
        (2, "green", "2.png", Split.OPEN),
        (3, "red", "3.png", Split.OPEN),
        (4, "green", "4.png", Split.OPEN),
    ]
    assert [each.container.storage.read(example.blob, example.offset, example.size) for example in examples] == [
        png(n) for n in (1, 2, 3, 4)
    ]
    assert len(each.blobs(dataset)) == 1
    assert each.uploads() == []


def test_declared_splits_are_kept(shelf: Shelf) -> None:
    dataset = shelf.loaded([(f"{split}/red/{n}.png", png(n)) for n, split in enumerate(("train", "val", "test"))])
    assert [example.split for example in shelf.examples(dataset)] == [Split.TRAINING, Split.VALIDATION, Split.TEST]
    more = shelf.loaded([("red/4.png", png(4)), ("red/5.png", png(5))])
    assert datasets.inventory(shelf.container, dataset).splits == {"training": 1, "validation": 1, "test": 1}
    assert datasets.inventory(shelf.container, more).splits == {"": 2}


def test_an_archive_comes_by_url(shelf: Shelf) -> None:
    with serving() as toy:
        toy.on("GET /moved", (302, {"Location": f"{toy.url}/fruit.zip"}, b""))
        toy.on("GET /fruit.zip", (200, {}, as_zip(FRUIT)))
        dataset = shelf.load(datasets.create(shelf.container, "anna", "fruit", source=f"{toy.url}/moved"))
    assert dataset.state is DatasetState.READY
    assert len(shelf.examples(dataset)) == 4


def test_progress_is_announced_to_waiting_callers(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    reports: list[tuple[float, str]] = []
    dataset = shelf.create(as_zip(FRUIT))
    clock = iter(range(1_000_000, 2_000_000))
    container = replace(shelf.container, now=lambda: float(next(clock)))

    def announce(ended: list[str], moved: list[str] = []) -> None:  # noqa: B006
        now = shelf.again(dataset)
        reports.append((now.progress, now.message))
        assert [*ended, *moved] == [str(dataset.id)]

    monkeypatch.setattr(container.queue.events, "publish", announce)
    dataset_import.load(container, dataset.id)
    pictures = [(n / 4, f"read {n} of 4 pictures") for n in range(4)]
    assert reports == [(0.0, "looking into the archive"), *pictures, (1.0, "")]


def test_an_upload_without_a_byte_is_refused(container: Container) -> None:
    with pytest.raises(errors.NoInput, match="empty"):
        dataset_import.keep_upload(container, "anna", io.BytesIO(b""))
    assert container.storage.list("uploads") == []


# pictures that are left out


def test_pictures_that_are_there_already_are_left_out_and_counted(each: Shelf) -> None:
    dataset = each.loaded([*FRUIT, ("red/again.png", png(1))])
    assert (dataset.duplicates, len(each.examples(dataset))) == (1, 4)

    more = each.load(each.add(dataset, as_zip([*FRUIT, ("blue/5.png", png(5)), ("blue/6.png", png(5))])))

    assert (more.state, more.duplicates, more.last_example) == (DatasetState.READY, 6, 5)
    assert each.labels(more) == {"green": 2, "red": 2, "blue": 1}


@pytest.mark.parametrize("order", [1, -1])
def test_a_picture_under_two_labels_is_reported_and_teaches_neither(each: Shelf, order: int) -> None:
    files = [*FRUIT, ("blue/twice.png", png(9)), ("red/twice.png", png(9)), ("blue/thrice.png", png(9))]
    dataset = each.loaded(files[::order])
    assert (dataset.state, dataset.duplicates, dataset.contradicting) == (DatasetState.READY, 0, 1)
    [found] = dataset.contradictions
    files_found = sorted(zip(found.labels, found.paths, strict=True))
    assert files_found == [("blue", "blue/thrice.png"), ("blue", "blue/twice.png"), ("red", "red/twice.png")]
    assert found.example is None
    assert each.labels(dataset) == {"green": 2, "red": 2}


def test_a_picture_that_is_there_under_another_label_stays_and_is_reported(each: Shelf) -> None:
    dataset = each.loaded(FRUIT)
    [known] = [example for example in each.examples(dataset) if example.name == "1.png"]
    other = "green" if known.label == "red" else "red"
    more = each.load(each.add(dataset, as_zip([(f"{other}/again.png", png(1)), ("blue/5.png", png(5))])))
    expected = Contradiction((known.label, other), (f"{known.label}/1.png", f"{other}/again.png"), known.id)
    assert (more.contradicting, more.contradictions, more.duplicates) == (1, (expected,), 0)
    assert known in each.examples(more)
    again = each.load(each.add(more, as_zip([(f"{other}/again.png", png(1))])))
    assert (again.state, again.contradicting) == (DatasetState.READY, 2)


def test_pictures_get_the_fingerprints_by_which_copies_are_found(each: Shelf) -> None:
    def photo(size: int, quality: int, light: int) -> bytes:
        with io.BytesIO() as out, Image.radial_gradient("L") as image:
            crop = image.crop((light, 20, 200 + light, 220)).resize((size, size))
            crop.convert("RGB").save(out, "JPEG", quality=quality)
            return out.getvalue()

    files = [("red/a.jpg", photo(200, 95, 0)), ("red/b.jpg", photo(90, 40, 0)), ("red/c.jpg", photo(200, 95, 56))]
    a, b, c, plain = each.examples(each.loaded([*files, ("red/plain.png", png(1))]))
    marks = [each.fingerprint for each in (a, b, c, plain)]
    assert near_duplicates.groups(marks) == [[0, 1]]
    assert marks[3] == near_duplicates.PLAIN


def test_an_archive_of_nothing_new_changes_nothing(each: Shelf) -> None:
    dataset = each.seal(each.loaded(FRUIT))
    again = each.load(each.add(dataset, as_zip(FRUIT)))
    assert (again.state, again.version, again.sealed, again.duplicates) == (DatasetState.READY, 1, True, 4)
    assert len(each.blobs(dataset)) == 1


def test_files_that_are_no_use_are_listed_with_the_reason(each: Shelf) -> None:
    bad: Files = [
        ("red/notes.txt", b"not a picture"),
        ("red/cut.jpg", cut_jpeg()),
        ("red/huge.png", huge_png()),
        ("red/large.png", png(9) + b"\0" * 2000),
        ("red/nested.zip", as_zip(FRUIT)),
        ("red/empty.png", b""),
        ("red/deep/1.png", png(11)),
        ("top.png", png(12)),
        ("only text/a.txt", b"text"),
    ]
    each = each.among(max_picture=2000)
    dataset = each.loaded([*FRUIT, *bad])

    assert dataset.state is DatasetState.READY
    assert each.labels(dataset) == {"green": 2, "red": 2}
    assert dataset.unreadable == len(dataset.reasons) == len(bad)
    why = dict(dataset.reasons)
    assert why.keys() == {path for path, _ in bad}
    assert "is not a picture in a known format" in why["red/notes.txt"]
    assert "is damaged and cannot be decoded" in why["red/cut.jpg"]
    assert "10000000000 pixels" in why["red/huge.png"]
    assert "more than the allowed 1.9 KiB (2,000 bytes)" in why["red/large.png"]
    assert "is itself a zip archive" in why["red/nested.zip"]
    assert why["red/empty.png"].startswith("is empty")
    assert "lies deeper" in why["red/deep/1.png"]
    assert "lies beside" in why["top.png"]


def test_of_very_many_bad_files_the_first_are_listed_and_all_are_counted(shelf: Shelf) -> None:
    dataset = shelf.loaded([*FRUIT, *((f"red/{n}.txt", b"%d" % n) for n in range(REASONS + 20))])
    assert dataset.unreadable == REASONS + 20
    assert [path for path, _ in dataset.reasons] == [f"red/{n}.txt" for n in range(REASONS)]


# invalid archives


@pytest.mark.parametrize(
    ("archive", "says"),
    [
        (as_zip([("1.png", png(1)), ("2.png", png(2))]), "LABEL/picture.jpg"),
        (as_zip([("red/1.txt", b"one"), ("red/2.txt", b"two")]), "'red/1.txt' is not a picture in a known format"),
        (as_zip(FRUIT)[:-30], "damaged"),
        (misplaced_zip(), "damaged"),
        (b"no archive at all", "Send zip, tar, tar.gz"),
        (as_zip([]), "empty"),
    ],
    ids=["flat", "no pictures", "cut off", "misplaced", "no archive", "nothing in it"],
)
def test_a_first_archive_that_gives_nothing_fails_with_what_to_do(shelf: Shelf, archive: bytes, says: str) -> None:
    dataset = shelf.load(shelf.create(archive))
    assert dataset.state is DatasetState.FAILED
    assert says in dataset.message
    assert shelf.labels(dataset) == {}
    assert shelf.blobs(dataset) == shelf.uploads() == []


def test_an_add_that_fails_leaves_the_dataset_as_it_was(each: Shelf) -> None:
    dataset = each.seal(each.loaded(FRUIT))
    broken = as_tgz([("blue/5.png", png(5)), ("blue/6.png", png(6))])[:-12]  # good pictures, then the end is missing

    after = each.load(each.add(dataset, broken))

    assert after.message.startswith("the last archive could not be read: The archive is damaged")
    assert replace(after, message="", updated_at=0) == replace(dataset, updated_at=0)
    assert len(each.examples(after)) == 4
    assert len(each.blobs(dataset)) == 1
    assert each.uploads() == []
    assert each.load(each.add(dataset, as_zip([("blue/5.png", png(5))]))).message == ""


@pytest.mark.parametrize("labels", [[], ["red"]])
def test_an_empty_dataset_survives_a_bad_archive(each: Shelf, labels: list[str]) -> None:
    dataset = datasets.create(each.container, "anna", "fruit", labels=labels)
    after = each.load(each.add(dataset, b"no archive"))
    assert (after.state, after.adding) == (DatasetState.READY, False)
    assert after.message.startswith("the last archive could not be read: ")
    assert each.load(each.add(dataset, as_zip(FRUIT))).state is DatasetState.READY


def test_the_first_archive_of_each_tenant_is_loaded_before_the_second_of_any(each: Shelf) -> None:
    created = [
        datasets.create(each.later(seconds), tenant, "fruit", source="uploads/1")
        for seconds, tenant in enumerate(("anna", "anna", "bert"))
    ]
    assert [dataset.id for dataset in dataset_import_runs.list_waiting(each.container, {})] == [
        created[0].id,
        created[2].id,
        created[1].id,
    ]
    assert [dataset.id for dataset in dataset_import_runs.list_waiting(each.container, {"anna": 1.0})] == [
        created[2].id,
        created[0].id,
        created[1].id,
    ]


def test_an_archive_of_too_many_files_or_bytes_is_refused(shelf: Shelf) -> None:
    assert "more than the allowed 3" in shelf.among(max_dataset_files=3).loaded(FRUIT).message
    assert "unpacks to more than 100 bytes" in shelf.among(max_dataset_unpacked=100).loaded(FRUIT).message


@pytest.mark.parametrize(
    ("path", "says"), [("/gone.zip", "status 404 instead of the archive"), ("/large.zip", "Give a smaller archive")]
)
def test_a_url_that_gives_no_archive_fails_with_the_reason(shelf: Shelf, path: str, says: str) -> None:
    with serving() as toy:
        toy.on("GET /large.zip", (200, {}, b"x" * 2000))
        source = f"{toy.url}{path}?signature=secret"
        small = shelf.among(max_dataset_archive=1000)
        dataset = small.load(datasets.create(small.container, "anna", "fruit", source=source))
    assert dataset.state is DatasetState.FAILED
    assert says in dataset.message
    # The URL, with its signature, is kept for as long as it is needed only, and is never shown.
    assert dataset.source == ""
    assert "secret" not in repr(dataset)


def test_a_url_of_this_network_is_not_asked(shelf: Shelf) -> None:
    strict = shelf.among(fetch_private=False)
    with serving() as toy:
        dataset = strict.load(datasets.create(strict.container, "anna", "fruit", source=f"{toy.url}/fruit.zip"))
        assert toy.requests == []
    assert "not on the public internet" in dataset.message


def test_an_upload_that_the_storage_lacks_is_waited_for_and_then_asked_for_again(shelf: Shelf) -> None:
    lost, away = shelf.create(as_zip(FRUIT)), shelf.create(data := as_zip(FRUIT))
    for dataset in (lost, away):
        shelf.container.storage.delete(dataset.source)
        for _ in range(shelf.container.settings.max_attempts + 1):
            waiting = shelf.load(dataset)
            assert (waiting.state, waiting.attempts) == (DatasetState.LOADING, 0)
        assert f"The storage lacks {dataset.source}, which nobody removed" in waiting.message
    shelf.container.storage.write(away.source, data)
    assert shelf.load(away).state is DatasetState.READY
    assert set(shelf.container.absences.current(shelf.container.now())) == {lost.source}

    since = shelf.container.absences.current(shelf.container.now())[lost.source]
    for minute in range(11):  # it is tried more often than that
        later = replace(shelf.container, now=lambda minute=minute: since + 60 * minute)  # type: ignore[misc]
        dataset_import.load(later, lost.id)
    failed = shelf.again(lost)
    assert failed.state is DatasetState.FAILED
    assert f"has lost the uploaded archive, since {absences.in_words(since)}. Send it again." in failed.message


# versions


def test_an_add_after_a_training_opens_a_version_and_leaves_the_old_one(each: Shelf) -> None:
    first = each.seal(each.loaded(FRUIT))
    old = each.examples(first)

    second = each.load(each.add(first, as_zip([("blue/5.png", png(5)), ("red/6.png", png(6))])))

    assert (second.version, second.sealed) == (2, False)
    assert each.labels(second) == {"green": 2, "red": 3, "blue": 1}
    assert each.examples(replace(second, version=1)) == old
    since = {example.id: example.since for example in each.examples(second)}
    assert since == {1: 1, 2: 1, 3: 1, 4: 1, 5: 2, 6: 2}


def test_a_picture_that_was_taken_out_may_come_again(each: Shelf) -> None:
    first = each.seal(each.loaded(FRUIT))
    datasets.remove_example(each.container, "anna", first.id, 1)
    again = each.load(each.add(each.again(first), as_zip([("red/1.png", png(1))])))
    assert (again.duplicates, [example.id for example in each.examples(again)]) == (0, [2, 3, 4, 5])


# interruptions


@contextmanager
def upon_writing(monkeypatch: pytest.MonkeyPatch, do: Callable[[], None], after: int = 2) -> Iterator[None]:
    """Do something when that many pictures have been written."""
    written = []
    real = Writer.write

    def write(self: Writer, data: bytes) -> int:
        written.append(data)
        if len(written) == after:
            do()
        return real(self, data)

    with monkeypatch.context() as patched:
        patched.setattr(Writer, "write", write)
        yield


def raising(error: BaseException) -> Callable[[], None]:
    def do() -> None:
        raise error

    return do


def test_a_stop_in_the_middle_leaves_nothing_and_is_no_attempt(each: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, stopping = each.create(as_zip(FRUIT)), threading.Event()
    with upon_writing(monkeypatch, stopping.set):
        stopped = each.load(dataset, stopping)
    assert (stopped.state, stopped.attempts, stopped.progress) == (DatasetState.LOADING, 0, 0.0)
    assert stopped.message.startswith("waiting")
    assert each.blobs(dataset) == []
    assert each.load(dataset).state is DatasetState.READY


def test_a_stop_ends_even_the_first_look_into_the_archive(shelf: Shelf) -> None:
    dataset, stopping = shelf.create(as_tgz(FRUIT)), threading.Event()
    stopping.set()
    assert shelf.load(dataset, stopping).state is DatasetState.LOADING


def test_a_loader_that_is_killed_is_followed_by_another(each: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = each.create(as_zip(FRUIT))
    with upon_writing(monkeypatch, raising(KeyboardInterrupt())), pytest.raises(KeyboardInterrupt):
        each.load(dataset)
    assert (each.again(dataset).state, each.again(dataset).attempts) == (DatasetState.LOADING, 1)
    assert each.examples(dataset) == []
    assert [waiting.id for waiting in dataset_import_runs.list_waiting(each.container, {})] == [dataset.id]

    loaded = each.load(dataset)

    assert loaded.state is DatasetState.READY
    assert [example.id for example in each.examples(loaded)] == [1, 2, 3, 4]
    assert len(each.blobs(loaded)) == 1


def test_an_archive_that_kills_its_loaders_is_given_up(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = shelf.create(as_zip(FRUIT))
    for _ in range(shelf.container.settings.max_attempts):
        with upon_writing(monkeypatch, raising(KeyboardInterrupt())), pytest.raises(KeyboardInterrupt):
            shelf.load(dataset)
    given_up = shelf.load(dataset)
    assert given_up.state is DatasetState.FAILED
    assert given_up.message.startswith("3 loaders crashed on the archive")
    assert shelf.uploads() == []


@pytest.mark.parametrize("where", ["storage", "loader"])
def test_a_full_disk_is_reported_and_the_archive_is_read_when_there_is_room(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    dataset = shelf.loaded(FRUIT)
    shelf.add(dataset, as_zip([("blue/5.png", png(5))]))
    full = raising(OSError(28, "No space left on device"))
    for _ in range(shelf.container.settings.max_attempts + 1):
        with monkeypatch.context() as patched:
            if where == "loader":
                patched.setattr(shelf.container.storage, "fetch_to", lambda *_: full())
                waiting = shelf.load(dataset)
            else:
                with upon_writing(patched, full, after=1):
                    waiting = shelf.load(dataset)
        assert (waiting.state, waiting.attempts) == (DatasetState.LOADING, 0)
        assert f"{where} is full" in waiting.message
    assert len(shelf.examples(dataset)) == 4
    assert len(shelf.blobs(dataset)) == 1
    assert shelf.load(dataset).state is DatasetState.READY
    assert len(shelf.examples(dataset)) == 5


def test_a_disk_of_the_loader_that_fails_is_tried_again_and_then_reported(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = shelf.loaded(FRUIT)
    shelf.add(dataset, as_zip([("blue/5.png", png(5))]))
    fail = raising(OSError(5, "Input/output error"))
    monkeypatch.setattr(shelf.container.storage, "fetch_to", lambda *_: fail())
    seen = [shelf.load(dataset) for _ in range(shelf.container.settings.max_attempts)]
    assert [dataset.state for dataset in seen] == [DatasetState.LOADING, DatasetState.LOADING, DatasetState.READY]
    assert "Input/output error" in seen[0].message
    assert seen[0].message.endswith("tried again soon.")
    assert "Input/output error" in seen[2].message
    assert len(shelf.examples(dataset)) == 4
    assert len(shelf.blobs(dataset)) == 1


def test_a_loader_that_lost_its_lock_stores_nothing(each: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = each.create(as_zip(FRUIT))

    def overtake() -> None:
        monkeypatch.undo()
        each.load(dataset)

    with upon_writing(monkeypatch, overtake):
        loaded = each.load(dataset)

    assert loaded.state is DatasetState.READY
    assert len(each.examples(loaded)) == 4
    assert len(each.blobs(loaded)) == 1


def test_a_dataset_that_is_gone_keeps_nothing_of_its_archive(each: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = each.create(as_zip(FRUIT))

    def remove() -> None:
        with each.container.database.write() as uow:
            uow.datasets.delete(dataset.id)

    with upon_writing(monkeypatch, remove):
        dataset_import.load(each.container, dataset.id)
    assert each.blobs(dataset) == []


def test_one_that_is_not_loading_is_left_alone(each: Shelf) -> None:
    dataset = each.loaded(FRUIT)
    assert each.load(dataset) == dataset
    dataset_import.load(each.container, 7)


# maintenance


def test_trainers_are_notified_now_and_then_of_archives_that_are_not_being_loaded(shelf: Shelf) -> None:
    dataset = shelf.create(as_zip(FRUIT))
    shelf.called.clear()
    maintenance.retrain(shelf.container)
    assert shelf.called == []  # no trainer runs; one that starts looks by itself
    shelf.container.queue.workers.heartbeat("trainer", {}, 60, role="trainers")
    with shelf.container.queue.locks.renewed(lock_names.dataset_import(dataset.id)):
        maintenance.retrain(shelf.container)
    assert shelf.called == []
    maintenance.retrain(shelf.container)
    maintenance.retrain(shelf.container)
    assert shelf.called == [("load",)]


def test_garbage_collection_removes_deleted_datasets_with_their_pictures(each: Shelf) -> None:
    dataset, kept = each.loaded(FRUIT), each.loaded(FRUIT)
    datasets.delete(each.container, "anna", dataset.id)
    maintenance.reconcile(each.container)
    with pytest.raises(errors.NotFound):
        each.again(dataset)
    assert each.blobs(dataset) == []
    assert len(each.blobs(kept)) == 1


def test_the_upload_of_a_dataset_that_waits_is_kept_however_old_it_is(each: Shelf) -> None:
    dataset, forgotten = each.create(as_zip(FRUIT)), each.upload(b"its request failed before the dataset was stored")
    maintenance.collect_garbage(each.later(3600))
    assert set(each.uploads()) == {dataset.source, forgotten}
    maintenance.collect_garbage(each.later(200_000))
    assert each.uploads() == [dataset.source]


def test_blobs_in_which_no_example_lies_are_removed_after_an_hour(each: Shelf) -> None:
    dataset, being_read = each.loaded(FRUIT), each.create(as_zip(FRUIT))
    (used,) = each.blobs(dataset)
    orphans = {name: f"datasets/{name}/{used.rsplit('/', 1)[1][:-1]}x" for name in (dataset.id, being_read.id, 77)}
    kept, gone = (f"datasets/{name}/features-{'a' * 32}-{used.rsplit('/', 1)[1]}" for name in (dataset.id, 77))
    for key in (*orphans.values(), kept, gone):
        each.container.storage.write(key, b"orphan")
    assert job_created_at(used.rsplit("/", 1)[1]) > time.time() - 60

    maintenance.collect_garbage(each.later(1800))
    assert set(each.blobs(dataset)) == {used, kept, orphans[dataset.id]}
    assert each.container.storage.list("datasets/77") == []  # nothing more will come of it
    maintenance.collect_garbage(each.later(7200))

    assert set(each.blobs(dataset)) == {used, kept}
    assert each.blobs(being_read) == [orphans[being_read.id]]
