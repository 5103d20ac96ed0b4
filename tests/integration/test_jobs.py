"""Use-cases of jobs: what submitting stores, refuses and repeats, and what waiting and cancelling return."""

from __future__ import annotations

import hashlib
import json

from shared.container import Container
from shared.domain.jobs import Submission
from shared.services import jobs
from tests.dataset_fixtures import picture


def test_a_fingerprint_is_what_stacks_have_stored_since_the_first_version(container: Container) -> None:
    one = picture(1)
    pictures = hashlib.sha256(f"{one.name}\0{len(one.data)}\0".encode() + one.data).hexdigest()
    options = "Options(task='classify', top_k=5, function_to_apply='softmax', exif=True)"
    text = json.dumps([pictures, "digits", "1", options, "low", {"order": 7}], sort_keys=True)

    asked = Submission([one], "digits", "1", priority="low", metadata={"order": 7})
    job, _ = jobs.submit(container, "anna", asked)

    assert job.fingerprint == hashlib.sha256(text.encode()).hexdigest()
