"""Absences: how long a blob that is missing is remembered, and what forgets it."""

from __future__ import annotations

from shared.adapters.absences import FRESH, KEPT, Absences
from shared.services.absences import WAITED


def test_work_that_takes_long_until_it_misses_its_blob_again_is_given_up_all_the_same() -> None:
    absences, slow = Absences(), 2 * FRESH
    looks = [absences.note("weights/1", 1000.0 + number * slow) for number in range(4)]
    assert looks == [1000.0] * 4
    assert slow < WAITED < 3 * slow, "the last try gives up"


def test_a_blob_counts_as_absent_only_shortly_after_a_vain_look() -> None:
    absences = Absences()
    absences.note("jobs/1", 1000.0)
    absences.note("jobs/2", 1060.0)
    assert absences.current(1061.0) == {"jobs/1": 1000.0, "jobs/2": 1060.0}
    assert absences.current(1000.0 + FRESH) == {"jobs/2": 1060.0}
    assert absences.current(1060.0 + FRESH) == {}


def test_a_blob_that_was_found_or_that_nobody_has_looked_for_in_hours_is_absent_anew() -> None:
    absences = Absences()
    absences.note("jobs/1", 1000.0)
    absences.note("jobs/2", 1000.0)
    absences.forget("jobs/1")
    assert absences.note("jobs/1", 1010.0) == 1010.0
    assert absences.note("jobs/1", 1020.0) == 1010.0
    assert absences.note("jobs/3", 1000.0 + KEPT) == 1000.0 + KEPT
    assert set(absences.remembered()) == {"jobs/1", "jobs/3"}, "nobody has looked for the other in hours"
    assert absences.note("jobs/2", 1000.0 + KEPT) == 1000.0 + KEPT
