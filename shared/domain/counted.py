"""Counts with their nouns and verbs, as people read them. The command line has its own (`console.count`), since it
imports nothing of the domain."""

from __future__ import annotations


def counted(number: int, thing: str) -> str:
    """Return a number with its noun: `1 picture`, `5,000 pictures`."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def verb(number: int, does: str) -> str:
    """Return the verb of so many: `waits` of 1, `wait` of all other numbers."""
    return f"{does}s" if number == 1 else does
