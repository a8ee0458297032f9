"""Pattern generation: solve a program over few patterns, ask the dual variable for neurons that are missing, repeat.

Letters: `nu` (n, 1) dual variable; a neuron is missing when |nu . relu(Z u)| exceeds the penalty at cost one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from convexrelu.arrays import Array
from convexrelu.backends.backend import Backend
from convexrelu.backends.conic import ConicStatus
from convexrelu.patterns.patterns import Patterns, neuron_patterns
from convexrelu.patterns.sampling import sample_arrangement
from convexrelu.pricing.search import find_neurons
from convexrelu.problem import TrainingProblem
from convexrelu.program import Program
from convexrelu.result import Solution


@dataclass(frozen=True, eq=False)
class Master:
    """Solves programs over working patterns with a conic backend."""

    backend: Backend
    tol: float
    options: Mapping[str, Any]
    verbose: bool
    time_limit: float | None

    def solve(self, problem: TrainingProblem, patterns: Patterns) -> Solution | None:
        """The program's solution, or None if the backend found none (an infeasible interpolation program, say)."""
        program = Program(problem, patterns)
        conic = program.conic()
        raw = self.backend.solve(
            conic, tol=self.tol, options=self.options, verbose=self.verbose, time_limit=self.time_limit
        )
        usable = raw.status in (ConicStatus.SOLVED, ConicStatus.INACCURATE, ConicStatus.LIMIT)
        return program.recover(raw) if usable and np.isfinite(raw.x).all() and np.isfinite(raw.z).all() else None


def first_patterns(problem: TrainingProblem, warm: Array, seed: int) -> Patterns:
    """Patterns to start from: those of the warm-start neurons, and enough random ones to meet any targets."""
    count = 4 * len(problem.X) if problem.is_interpolation else 10
    patterns = sample_arrangement(problem.arrangement, count, seed)
    return neuron_patterns(problem.arrangement, warm).union(patterns) if len(warm) else patterns


def missing_patterns(
    problem: TrainingProblem, nu: Array, current: Array, threshold: float, rng: np.random.Generator
) -> Patterns:
    """Patterns of neurons that the search finds above `threshold`; empty if it finds none, which proves nothing."""
    arrangement = problem.arrangement
    costs = arrangement.cost(current)
    starts = current[costs > 1e-6 * costs.max(initial=0.0)]
    found = find_neurons(
        arrangement.Z, nu[:, 0], arrangement.n_penalized, threshold=threshold, starts=starts, rng=rng
    )
    return neuron_patterns(arrangement, found.neurons)
