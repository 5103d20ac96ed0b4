"""A real worker in this process, with the real `digits`: every picture gets its own outcome, once."""

from __future__ import annotations

import io
import math
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from PIL import Image

from shared import cache, errors, gallery, images, jobs, models
from shared.jobs import Item, Job, Options, Status, StoredImage, Submission
from shared.models import EVERYBODY, State, Version
from shared.queue import Entry, Queue
from shared.tools import Tools
from tests.stacks import digits, until
from tests.workers import made_tools
from worker import checking
from worker.runner import Runner

LIMITS = images.Limits(10**7, 10**8, 100.0, 1000, 10**8)


@pytest.fixture
def tools(checked: Path, tmp_path: Path, queue: Queue) -> Iterator[Tools]:
    shutil.copytree(checked, tmp_path / "data")
    made = made_tools(tmp_path / "data", queue)
    yield made
    made.waiters.close()
    if made.waiters._thread:
        made.waiters._thread.join(10)
    made.records.close()


@pytest.fixture
def runner(tools: Tools) -> Iterator[Runner]:
    """A worker whose heart beats."""
    made = Runner(tools)
    made.join()
    yield made
    made.stop()
    heart = next((thread for thread in threading.enumerate() if thread.name == "heart"), None)
    if heart:
        heart.join(10)


def named(tools: Tools, name: str) -> Version:
    with tools.records.read() as r:
        return models.pick(r.versions.named(EVERYBODY, name), name)


def picture(number: int) -> images.Picture:
    name, data = digits()[number]
    return images.check(name, data, LIMITS)


def broken() -> images.Picture:
    """Its header is fine; its pixels are cut off."""
    return images.check("broken.png", digits()[0][1][:-30], LIMITS)


def marked() -> images.Picture:
    """All white, which no digit is."""
    file = io.BytesIO()
    Image.new("L", (32, 32), 255).save(file, "PNG")
    return images.check("marked.png", file.getvalue(), LIMITS)


def submit(tools: Tools, pictures: list[images.Picture | StoredImage], **about: Any) -> Job:
    job, new = jobs.submit(tools, "anna", Submission(pictures, model="digits", **about))
    assert new
    return job


def again(tools: Tools, job: Job) -> Job:
    return jobs.get(tools, job.tenant, job.id)


def items(tools: Tools, job: Job) -> list[Item]:
    with tools.records.read() as r:
        return r.jobs.items(job.id)


def labels(tools: Tools, job: Job) -> list[str]:
    """The best label of each picture, or the code of what went wrong."""
    return [item.result[0][0] if item.result else item.error_code for item in items(tools, job)]


def spied(runner: Runner, fails: Callable[[torch.Tensor], bool] = lambda tensor: False) -> list[int]:
    """Sizes of the batches that the model is given from now on; it fails when `fails` for a picture of the batch."""
    model = runner.engine.load(named(runner.tools, "digits"))
    forward, sizes = model.forward, list[int]()

    def spy(inputs: list[torch.Tensor], task: str = "classify") -> torch.Tensor:
        sizes.append(len(inputs))
        if any(fails(tensor) for tensor in inputs):
            raise RuntimeError("this picture makes the model fail")
        return forward(inputs, task)

    model.forward = spy  # type: ignore[method-assign, assignment]
    return sizes


def nothing_is_left(runner: Runner, job: Job) -> bool:
    """Neither on the stream nor in the worker's hands."""
    return not runner.tools.queue.present(job.version_id) and not runner._held


# what a batch does


def test_pictures_are_classified_and_taken_off_the_stream(tools: Tools, runner: Runner) -> None:
    job = submit(tools, [picture(number) for number in range(10)])

    runner.drain(job.version_id)

    done = again(tools, job)
    assert (done.status, done.done, done.failed) == (Status.DONE, 10, 0)
    assert labels(tools, job) == list("0123456789")
    assert nothing_is_left(runner, job)


def test_what_waits_becomes_one_batch_up_to_the_limit(tools: Tools, runner: Runner) -> None:
    sizes = spied(runner)
    several = [submit(tools, [picture(number % 10)]) for number in range(20)]

    runner.drain(several[0].version_id)

    assert sizes == [16, 4]
    assert [again(tools, job).status for job in several] == [Status.DONE] * 20


def test_a_broken_picture_fails_alone(tools: Tools, runner: Runner) -> None:
    sizes = spied(runner)
    job = submit(tools, [picture(3), broken(), picture(5)])

    runner.drain(job.version_id)

    assert labels(tools, job) == ["3", "broken_picture", "5"]
    assert "damaged" in items(tools, job)[1].error
    assert (again(tools, job).status, again(tools, job).failed) == (Status.DONE, 1)
    assert sizes == [2]
    assert nothing_is_left(runner, job)


def test_a_job_of_broken_pictures_only_has_failed(tools: Tools, runner: Runner) -> None:
    job = submit(tools, [broken(), broken()])
    runner.drain(job.version_id)
    assert (again(tools, job).status, again(tools, job).failed) == (Status.FAILED, 2)
    with pytest.raises(errors.BrokenPicture) as caught:
        jobs.blame(tools, again(tools, job))
    assert caught.value.job_id == job.id


def test_a_picture_that_makes_the_model_fail_fails_alone(tools: Tools, runner: Runner) -> None:
    spied(runner, fails=lambda tensor: int(tensor.min()) == 255)
    first = submit(tools, [picture(number) for number in range(5)])
    second = submit(tools, [picture(7), marked(), picture(8)])

    runner.drain(first.version_id)

    assert labels(tools, first) == list("01234")
    assert labels(tools, second) == ["7", "model_failed", "8"]
    assert "RuntimeError" in items(tools, second)[1].error
    assert nothing_is_left(runner, second)


def test_options_of_different_jobs_meet_in_one_batch(tools: Tools, runner: Runner) -> None:
    sizes = spied(runner)
    wanted = [Options(top_k=10), Options(top_k=10, function_to_apply="none"), Options(top_k=3), Options(top_k=99)]
    wanted += [Options(top_k=1, function_to_apply="sigmoid")]
    softmax, plain, three, all_of_them, sigmoid = (submit(tools, [picture(6)], options=asked) for asked in wanted)

    runner.drain(softmax.version_id)

    assert sizes == [5]
    logits = dict(items(tools, plain)[0].result)
    total = sum(math.exp(logit) for logit in logits.values())
    expected = {label: pytest.approx(math.exp(logit) / total, abs=1e-5) for label, logit in logits.items()}
    assert dict(items(tools, softmax)[0].result) == expected
    assert items(tools, three)[0].result == items(tools, softmax)[0].result[:3]
    assert len(items(tools, all_of_them)[0].result) == 10
    ((label, score),) = items(tools, sigmoid)[0].result
    assert (label, score) == ("6", pytest.approx(1 / (1 + math.exp(-logits["6"])), abs=1e-5))


def test_features_are_the_input_of_the_last_layer(tools: Tools, runner: Runner) -> None:
    features = submit(tools, [picture(1), picture(2)], options=Options(task="features"))
    classify = submit(tools, [picture(1)], options=Options(top_k=10, function_to_apply="none"))

    runner.drain(features.version_id)

    one, two = (item.result for item in items(tools, features))
    assert (len(one), len(two)) == (896, 896)
    assert one != two
    version = named(tools, "digits")
    state = safetensors.torch.load(tools.storage.read(version.weights))
    last = max((name for name in state if name.endswith(".weight")), key=lambda name: int(name.split(".")[0]))
    logits = state[last] @ torch.tensor(one) + state[last.replace("weight", "bias")]
    answered = dict(items(tools, classify)[0].result)
    assert [answered[label] for label in version.labels] == pytest.approx(logits.tolist(), abs=1e-3)


def test_exif_is_applied_unless_switched_off(tools: Tools, runner: Runner) -> None:
    plain = Image.open(io.BytesIO(digits()[7][1]))
    turned, tag = io.BytesIO(), Image.Exif()
    tag[0x0112] = 3
    plain.transpose(Image.Transpose.ROTATE_180).save(turned, "PNG", exif=tag)
    lying = images.check("lying.png", turned.getvalue(), LIMITS)
    upright, left, right = (submit(tools, [p], options=o) for p, o in
                            [(picture(7), Options()), (lying, Options(exif=False)), (lying, Options())])  # fmt: skip

    runner.drain(upright.version_id)

    assert items(tools, right)[0].result == items(tools, upright)[0].result
    assert items(tools, left)[0].result != items(tools, upright)[0].result


# what is not run


def test_cancelled_jobs_are_skipped(tools: Tools, runner: Runner) -> None:
    sizes = spied(runner)
    cancelled, kept = submit(tools, [picture(1)] * 3), submit(tools, [picture(2)])
    jobs.cancel(tools, "anna", cancelled.id)

    runner.drain(kept.version_id)

    assert sizes == [1]
    assert (again(tools, cancelled).status, again(tools, cancelled).done) == (Status.CANCELLED, 0)
    assert again(tools, kept).status is Status.DONE
    assert nothing_is_left(runner, kept)


def test_a_job_whose_deadline_has_passed_expires_and_costs_no_forward_pass(tools: Tools, runner: Runner) -> None:
    sizes = spied(runner)
    late, kept = submit(tools, [picture(1)], deadline=time.time() - 1), submit(tools, [picture(2)])
    runner.drain(kept.version_id)
    assert sizes == [1]
    assert again(tools, late).status is Status.EXPIRED
    assert again(tools, kept).status is Status.DONE
    assert nothing_is_left(runner, kept)


def test_what_is_left_of_a_running_job_at_its_deadline_is_not_run(tools: Tools, runner: Runner) -> None:
    job = submit(tools, [picture(1), picture(2)], deadline=time.time() + 3600)
    first = tools.queue.claim(job.version_id, "another", 1)
    jobs.begin(tools, first)
    jobs.finish(tools, [jobs.Outcome(job.id, 0, [["1", 1.0]])])
    tools.queue.acknowledge(first)
    runner.tools = replace(tools, now=lambda: time.time() + 4000)

    runner.drain(job.version_id)

    assert labels(tools, job) == ["1", "expired"]
    assert (again(tools, job).status, again(tools, job).failed) == (Status.DONE, 1)
    assert nothing_is_left(runner, job)


def test_an_image_that_was_deleted_before_it_ran_is_gone(tools: Tools, runner: Runner) -> None:
    kept, deleted = (gallery.store(tools, "anna", "live", picture(number)) for number in (4, 5))
    both = [StoredImage(image.id, image.name, image.blob, image.size) for image in (kept, deleted)]
    job = submit(tools, both)
    gallery.delete(tools, "anna", "live", deleted.id)

    runner.drain(job.version_id)

    assert labels(tools, job) == ["4", "gone"]
    assert "removed" in items(tools, job)[1].error


def test_a_bell_for_a_version_that_is_gone_or_not_ready_is_ignored(tools: Tools, runner: Runner) -> None:
    runner.drain("unknown")
    runner.drain(named(tools, "resnet50").id)
    assert runner.engine.loaded() == []


# workers that die, and things that are away


def dies_with(tools: Tools, version_id: str, deaths: int) -> None:
    """A worker claims everything, dies, and so do its successors with the first picture of it."""
    assert tools.queue.claim(version_id, "dead-1", 99)
    for _ in range(deaths - 1):
        until(lambda: tools.queue.claim_lapsed(version_id, "dead") is not None, 10)
    until(lambda: tools.queue.has_lapsed(version_id), 10)


def drain_until_ended(runner: Runner, job: Job) -> None:
    def ended() -> bool:
        runner.drain(job.version_id)
        return again(runner.tools, job).status.terminal

    until(ended, 20)


def test_the_pictures_of_a_dead_worker_run_alone(tools: Tools, runner: Runner) -> None:
    sizes = spied(runner)
    job = submit(tools, [picture(number) for number in range(4)])
    dies_with(tools, job.version_id, 1)

    drain_until_ended(runner, job)

    assert sizes == [1, 1, 1, 1]
    assert labels(tools, job) == list("0123")
    assert nothing_is_left(runner, job)


def test_a_picture_that_three_workers_died_with_is_poison_and_the_others_are_done(tools: Tools, runner: Runner) -> None:
    job = submit(tools, [picture(0)])
    dies_with(tools, job.version_id, 3)
    innocent = submit(tools, [picture(number) for number in range(1, 5)])

    drain_until_ended(runner, job)
    drain_until_ended(runner, innocent)

    assert labels(tools, job) == ["poison"]
    assert "3 workers died" in items(tools, job)[0].error
    assert again(tools, job).status is Status.FAILED
    assert labels(tools, innocent) == list("1234")
    assert nothing_is_left(runner, job)


def test_after_two_deaths_a_picture_still_gets_its_chance(tools: Tools, runner: Runner) -> None:
    job = submit(tools, [picture(0)])
    dies_with(tools, job.version_id, 2)
    drain_until_ended(runner, job)
    assert labels(tools, job) == ["0"]


def test_what_was_stored_but_not_acknowledged_is_not_run_again(tools: Tools, runner: Runner) -> None:
    sizes = spied(runner)
    job = submit(tools, [picture(1), picture(2)])
    claimed = tools.queue.claim(job.version_id, "dead", 1)
    jobs.begin(tools, claimed)
    jobs.finish(tools, [jobs.Outcome(job.id, 0, [["stored", 1.0]])])
    until(lambda: tools.queue.has_lapsed(job.version_id), 10)

    runner.drain(job.version_id)

    assert labels(tools, job) == ["stored", "2"]
    assert sum(sizes) == 1
    assert nothing_is_left(runner, job)


def test_two_workers_share_the_work_and_record_it_once(tools: Tools, runner: Runner) -> None:
    second = Runner(tools)
    several = [submit(tools, [picture(number) for number in range(10)]) for _ in range(8)]

    threads = [threading.Thread(target=each.drain, args=(several[0].version_id,)) for each in (runner, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for job in several:
        drain_until_ended(runner, job)

    assert [(again(tools, job).done, again(tools, job).failed) for job in several] == [(10, 0)] * 8
    assert all(labels(tools, job) == list("0123456789") for job in several)


def test_a_database_that_is_away_while_the_outcome_is_stored_only_delays_it(
    tools: Tools, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = spied(runner)
    write, refused = tools.records.write, list[bool]()

    def away_twice() -> AbstractContextManager[Any]:
        if sizes and len(refused) < 2:
            refused.append(True)
            raise errors.Unavailable()
        return write()

    monkeypatch.setattr(tools.records, "write", away_twice)
    job = submit(tools, [picture(1), picture(2)])

    runner.drain(job.version_id)

    assert refused == [True, True]
    assert sizes == [2]
    assert labels(tools, job) == ["1", "2"]
    assert nothing_is_left(runner, job)


def test_a_storage_that_is_away_only_delays_the_picture(
    tools: Tools, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner.engine.load(named(tools, "digits"))
    read, refused = tools.storage.read, list[str]()

    def away_once(key: str, offset: int = 0, size: int | None = None) -> bytes:
        if not refused:
            refused.append(key)
            raise errors.Unavailable()
        return read(key, offset, size)

    monkeypatch.setattr(tools.storage, "read", away_once)
    job = submit(tools, [picture(1), picture(2)])
    runner.drain(job.version_id)
    assert refused == [job.blob]
    assert labels(tools, job) == ["1", "2"]


def test_damaged_weights_fail_the_waiting_pictures_with_the_reason(tools: Tools, runner: Runner) -> None:
    job = submit(tools, [picture(1), picture(2)])
    tools.storage.write(named(tools, "digits").weights, b"nothing of use")

    runner.drain(job.version_id)

    assert labels(tools, job) == ["model_unavailable"] * 2
    assert "damaged" in items(tools, job)[0].error
    assert nothing_is_left(runner, job)


# when a drain ends


def bells(tools: Tools) -> list[tuple[str, ...]]:
    sent: list[tuple[str, ...]] = []
    tools.queue.call = lambda *task: bool(sent.append(task)) or True  # type: ignore[method-assign]
    return sent


def test_a_stopping_worker_finishes_its_batch_and_leaves_the_rest_to_others(tools: Tools, runner: Runner) -> None:
    job = submit(tools, [picture(number % 10) for number in range(40)])
    sent = bells(tools)
    runner.stop()

    runner.drain(job.version_id)

    assert again(tools, job).done == 16
    assert ("drain", job.version_id) in sent
    drain_until_ended(Runner(tools), job)
    assert again(tools, job).done == 40


def test_a_drain_whose_time_is_over_rings_for_the_rest(tools: Tools) -> None:
    job = submit(tools, [picture(number % 10) for number in range(40)])
    sent = bells(tools)
    Runner(replace(tools, settings=replace(tools.settings, time_slice=0.0))).drain(job.version_id)
    assert again(tools, job).done == 16
    assert sent == [("drain", job.version_id)]


def test_a_backlog_calls_another_worker_in(tools: Tools, runner: Runner) -> None:
    small = submit(tools, [picture(1)] * 16)
    sent = bells(tools)
    runner.drain(small.version_id)
    assert sent == []

    big = submit(tools, [picture(1)] * 17)
    sent.clear()
    runner.drain(big.version_id)
    assert ("drain", big.version_id) in sent


def test_a_drain_that_watches_takes_what_comes_in(tools: Tools) -> None:
    runner = Runner(replace(tools, settings=replace(tools.settings, linger=20.0)))
    first = submit(tools, [picture(1)])
    thread = threading.Thread(target=runner.drain, args=(first.version_id,))
    thread.start()
    until(lambda: again(tools, first).status is Status.DONE, 20)

    second = submit(tools, [picture(2)])

    until(lambda: again(tools, second).status is Status.DONE, 10)
    tools.queue._redis.rpush(f"{tools.queue._settings.broker_prefix}bells", "end the watch")
    thread.join(20)
    assert not thread.is_alive()


def test_high_priority_overtakes_what_waits(tools: Tools) -> None:
    runner = Runner(replace(tools, settings=replace(tools.settings, time_slice=0.0)))
    low = submit(tools, [picture(1)] * 20, priority="low")
    high = submit(tools, [picture(2)] * 16, priority="high")
    runner.drain(low.version_id)
    assert (again(tools, high).status, again(tools, low).status) == (Status.DONE, Status.QUEUED)


# from checking to ready


def imported(tools: Tools, architecture: str, data: bytes, labels: list[str]) -> Version:
    tools.storage.write("uploads/x", data)
    return models.add(tools, "anna", "mine", architecture=architecture, source="uploads/x", labels=labels)


def state_of(tools: Tools, version: Version) -> Version:
    with tools.records.read() as r:
        found = r.versions.get(version.id)
    assert found is not None
    return found


def test_the_checked_digits_are_ready_with_labels_and_an_example(tools: Tools) -> None:
    version = named(tools, "digits")
    assert (version.state, version.reason, version.family) == (State.READY, "", "digits")
    assert version.labels == tuple("0123456789")
    assert version.example is not None
    assert len(version.example.logits) == 10
    assert tools.storage.read(version.weights)


def test_weights_that_cannot_be_fetched_lead_back_to_absent_with_what_to_do(tools: Tools, runner: Runner) -> None:
    version = named(tools, "resnet50")
    with pytest.raises(errors.ModelNotReady):  # the first use has it fetched
        models.servable(tools, "anna", "resnet50")
    checking.check(runner, version.id)
    after = state_of(tools, version)
    assert after.state is State.ABSENT
    assert "inferq models import" in after.reason


def test_an_upload_that_is_no_weights_is_refused_with_the_reason(tools: Tools, runner: Runner) -> None:
    version = imported(tools, "digits", b"these are no weights at all", list("0123456789"))
    checking.check(runner, version.id)
    after = state_of(tools, version)
    assert after.state is State.REFUSED
    assert "neither safetensors nor" in after.reason
    with pytest.raises(errors.BadWeights):
        models.wait(tools, after, 1.0)
    with tools.records.read() as r:
        assert r.versions.named("anna", "mine") == []
    assert tools.storage.list("uploads") == []


def test_a_good_upload_becomes_ready_and_the_upload_goes(tools: Tools, runner: Runner) -> None:
    weights = tools.storage.read(named(tools, "digits").weights)
    version = imported(tools, "digits", weights, list("abcdefghij"))
    checking.check(runner, version.id)
    after = state_of(tools, version)
    assert (after.state, after.labels, after.source) == (State.READY, tuple("abcdefghij"), "")
    assert tools.storage.list("uploads") == []


def test_two_versions_with_the_same_weights_share_the_blob_until_the_last_one_goes(
    tools: Tools, runner: Runner
) -> None:
    shared = named(tools, "digits").weights
    version = imported(tools, "digits", tools.storage.read(shared), list("abcdefghij"))
    checking.check(runner, version.id)
    assert state_of(tools, version).weights == shared
    models.remove(tools, "anna", "mine")
    assert tools.storage.read(shared)


def test_a_version_that_kills_its_checkers_is_refused(tools: Tools, runner: Runner) -> None:
    version = imported(tools, "digits", b"x", [])
    with tools.records.write() as r:
        r.versions.save(replace(version, attempts=3))
    checking.check(runner, version.id)
    assert (state_of(tools, version).state, state_of(tools, version).reason) == (
        State.REFUSED,
        "3 workers died while checking it",
    )


def test_a_version_is_checked_by_one_worker_at_a_time(tools: Tools, runner: Runner) -> None:
    version = imported(tools, "digits", b"x", [])
    tools.queue.lock(f"check:{version.id}", "another worker", 60)
    checking.check(runner, version.id)
    assert state_of(tools, version).state is State.CHECKING
    tools.queue.unlock(f"check:{version.id}", "another worker")
    checking.check(runner, version.id)
    assert state_of(tools, version).state is State.REFUSED


def test_a_check_that_was_sent_again_to_the_same_worker_meanwhile_is_not_a_try(
    tools: Tools, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = imported(tools, "digits", b"x", [])
    tries: list[int] = []

    def examine(_: Runner, seen: Version, __: Path) -> Version:
        tries.append(seen.attempts)
        again = threading.Thread(target=checking.check, args=(runner, version.id))
        again.start()
        again.join()
        raise errors.BadWeights("It is no good.")

    monkeypatch.setattr(checking, "_examine", examine)
    checking.check(runner, version.id)
    assert tries == [1]
    assert state_of(tools, version).reason == "It is no good."


def test_the_heart_keeps_the_lease_of_what_is_held(tools: Tools, runner: Runner) -> None:
    job = submit(tools, [picture(1), picture(2)])
    held: list[Entry] = tools.queue.claim(job.version_id, runner.id, 1)
    runner.hold(held)
    tools.queue.claim(job.version_id, "dead", 1)

    until(lambda: tools.queue.has_lapsed(job.version_id), 10)  # the one that nobody renews

    lapsed = tools.queue.claim_lapsed(job.version_id, "second")
    assert lapsed is not None
    assert lapsed.position == 1
    runner.release(held)
    until(lambda: tools.queue.has_lapsed(job.version_id), 10)


def test_the_heart_tells_the_fleet_what_the_worker_has(tools: Tools, runner: Runner) -> None:
    job = submit(tools, [picture(1), picture(2)])
    runner.drain(job.version_id)
    until(lambda: tools.queue.workers()[0]["pictures"] == 2, 10)
    (worker,) = tools.queue.workers()
    assert (worker["id"], worker["device"], worker["models"]) == (runner.id, "cpu", ["digits/1"])
    assert worker["rates"][job.version_id] > 0


def recalled(tools: Tools, tenant: str = "anna", number: int = 7, **options: Any) -> Any:
    return cache.recall(tools, tenant, named(tools, "digits"), Options(**options), picture(number).data)


def test_what_is_remembered_is_recalled_as_if_it_had_run(tools: Tools, runner: Runner) -> None:
    asked = [Options(top_k=3), Options(top_k=10, function_to_apply="none")]
    jobs_run = [submit(tools, [picture(7)], options=options, remember=True) for options in asked]
    runner.drain(named(tools, "digits").id)
    (best,), (raw,) = ([item.result for item in items(tools, job)] for job in jobs_run)

    assert recalled(tools, top_k=3) == [[label, pytest.approx(score, rel=1e-12)] for label, score in best]
    assert recalled(tools, top_k=10, function_to_apply="none") == raw


def test_only_what_was_asked_to_be_remembered_is_and_only_for_its_tenant(tools: Tools, runner: Runner) -> None:
    submit(tools, [picture(7)], remember=True)
    submit(tools, [picture(2)])
    runner.drain(named(tools, "digits").id)

    assert recalled(tools, number=7)
    assert recalled(tools, number=2) is None
    assert recalled(tools, "bert", number=7) is None
    assert recalled(tools, number=7, exif=False) is None


def test_the_cache_has_no_more_places_than_it_is_given(tools: Tools, runner: Runner) -> None:
    small = replace(tools, settings=replace(tools.settings, cache_entries=1))
    runner.tools = small
    for number in (4, 5):
        submit(small, [picture(number)], remember=True)
        runner.drain(named(small, "digits").id)

    assert recalled(small, number=4) is None
    assert recalled(small, number=5)
    assert recalled(replace(small, settings=replace(small.settings, cache_entries=0)), number=5) is None
