"""Which directions are active, and whether that is all: `census_of`."""

from __future__ import annotations

from dataclasses import dataclass

from convexrelu.errors import TooManyPatternsError
from convexrelu.optimal_set.directions import Census, Directions
from convexrelu.patterns.enumeration import enumerate_arrangement
from convexrelu.patterns.patterns import Patterns
from convexrelu.result import Result

# Up to this many patterns are listed and checked one by one.
FEW = 20_000


@dataclass(frozen=True, eq=False)
class Proof:
    """The directions found, whether there can be others, and why."""

    directions: Directions
    complete: bool
    text: str


def census_of(census: Census, result: Result) -> Proof:
    """Project the gradient of every pattern on its cone where they can be listed."""
    if census.patterns is not None:
        found = census.directions(census.projected(census.patterns))
        return Proof(found, True, f"each of the {len(census.patterns)} given patterns was checked, and no other")
    patterns = _all_patterns(census, result)
    if patterns is not None:
        found = census.directions(census.projected(patterns))
        return Proof(found, True, f"each of all {len(patterns)} activation patterns was checked")
    found = census.directions(census.searched())
    return Proof(found, False, f"there are more than {FEW:,} activation patterns, and a search proves nothing")


def _all_patterns(census: Census, result: Result) -> Patterns | None:
    """All patterns, if they are few."""
    given = result.given_patterns
    if given is not None and given.complete and given.key == census.arrangement.key:
        return given
    try:
        return enumerate_arrangement(census.arrangement, FEW)
    except TooManyPatternsError:
        return None
