"""Which directions are active, and whether that is all: `census_of`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convexrelu.errors import TooManyPatternsError
from convexrelu.optimal_set.directions import Census, Directions
from convexrelu.patterns.arrangement import Arrangement
from convexrelu.patterns.enumeration import enumerate_arrangement
from convexrelu.patterns.patterns import Patterns
from convexrelu.pricing.exclusion import rule_out
from convexrelu.pricing.parallel_rows import merge_parallel
from convexrelu.result import Result

# Up to this many patterns are listed and checked one by one.
FEW = 20_000
# Budget of the branch and bound where they are more: boxes and seconds, each time a direction is met.
MAX_BOXES = 200_000
SECONDS = 20.0
ROUNDS = 20


@dataclass(frozen=True, eq=False)
class Proof:
    """The directions found, whether there can be others, and why; and whether there are finitely many."""

    directions: Directions
    complete: bool
    text: str
    finite: bool = True


def census_of(census: Census, result: Result) -> Proof:
    """Project the gradient of every pattern on its cone where they can be listed; else branch and bound."""
    census.check_time()
    if census.patterns is not None:
        return _by_listing(
            census, census.patterns, f"the {len(census.patterns)} given patterns was checked, and no other"
        )
    patterns = _all_patterns(census, result)
    if patterns is not None:
        return _by_listing(census, patterns, f"all {len(patterns)} activation patterns was checked")
    if census.optimum.nu.shape[1] > 1:
        reason = f"there are more than {FEW:,} patterns, and for several tasks directions are proven by listing only"
        return Proof(census.directions(census.searched()), False, reason)
    return _by_exclusion(census)


def met_by(census: Census, result: Result) -> Proof:
    """What is active as far as is cheap to tell: by listing where the patterns are at hand, else by a search."""
    patterns = patterns_at_hand(result, census.arrangement) if census.patterns is None else census.patterns
    if patterns is not None:
        return _by_listing(census, patterns, f"the {len(patterns)} patterns was checked")
    found = census.directions(census.searched())
    return Proof(found, False, "a search met no others", all(map(census.is_isolated, found.neurons)))


def _by_listing(census: Census, patterns: Patterns, what: str) -> Proof:
    candidates, continuum = census.listed(patterns)
    if not continuum:
        return Proof(census.directions(candidates), True, f"each of {what}")
    found = census.directions(np.vstack([census.optimum.neurons / census.optimum.costs[:, None], candidates]))
    return Proof(found, False, f"there are infinitely many active directions: {continuum}", finite=False)


def _by_exclusion(census: Census) -> Proof:
    """Search, then prove by branch and bound that nothing else is active; what that meets joins the candidates."""
    candidates = census.searched()
    rows = merge_parallel(census.arrangement.Z, census.optimum.nu, census.arrangement.n_penalized)
    for _ in range(ROUNDS):
        found = census.directions(candidates)
        outcome = rule_out(
            rows.Z,
            rows.nu[:, 0],
            census.arrangement.n_penalized,
            target=census.level - rows.slack,
            known=np.vstack([found.neurons, -found.neurons]) if census.mirrored else found.neurons,
            signs=np.concatenate([found.signs, found.signs]) if census.mirrored else found.signs,
            max_boxes=MAX_BOXES,
            seconds=min(SECONDS, census.monitor.seconds_left),
        )
        census.check_time()
        if outcome.finished:
            text = f"a branch and bound over all directions closed {outcome.boxes:,} boxes"
            return Proof(found, True, text)
        if outcome.neuron is None:
            break
        neuron = outcome.neuron / census.arrangement.cost(outcome.neuron[None])[0]
        candidates = np.vstack([candidates, neuron])
    return Proof(found, False, f"there are more than {FEW:,} patterns, and the branch and bound did not finish")


def _all_patterns(census: Census, result: Result) -> Patterns | None:
    """All patterns, if they are few."""
    known = patterns_at_hand(result, census.arrangement)
    if known is not None:
        return known
    try:
        return enumerate_arrangement(census.arrangement, FEW)
    except TooManyPatternsError:
        return None


def patterns_at_hand(result: Result, arrangement: Arrangement) -> Patterns | None:
    """All patterns of the arrangement, if the result has them."""
    given = result.given_patterns
    return given if given is not None and given.complete and given.key == arrangement.key else None
