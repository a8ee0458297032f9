"""Bring a program to size one before a backend sees it: the tolerances of most solvers are partly absolute."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from convexrelu.backends.conic import ConicProgram, ConicSolution


@dataclass(frozen=True)
class Scaling:
    """Hold the scales of a program: x = unknowns x' and objective = objective' times `objective`.

    The cones do not change under a positive factor, so with x = c x' and the objective divided by r the program
    becomes P' = (c^2 / r) P, q' = (c / r) q, A' = A, b' = b / c, and its dual variable is z' = (c / r) z. Both scales
    are powers of two: nothing is rounded.
    """

    unknowns: float
    objective: float

    @classmethod
    def of(cls, program: ConicProgram) -> Scaling:
        """Choose the scales that make the largest entry of b about one, and those of P and q inverse to each other.

        The optimal value may be as large as the quadratic term at x = 0 or as small as the linear one at a residual
        of zero; the geometric mean lies between, wherever the optimum is.
        """
        c = _power_of_two(float(np.abs(program.b).max()))
        linear = c * float(np.abs(program.q).max())
        quadratic = 0.0 if program.P is None else c * c * float(np.abs(program.P.data).max(initial=0.0))
        both = math.sqrt(linear) * math.sqrt(quadratic)
        return cls(c, _power_of_two(both or max(linear, quadratic)))

    def apply(self, program: ConicProgram) -> ConicProgram:
        """Return the program in scaled unknowns."""
        c, r = self.unknowns, self.objective
        if c == r == 1.0:
            return program
        P = None if program.P is None else program.P * (c * c / r)
        return replace(program, P=P, q=program.q * (c / r), b=program.b / c)

    def undo(self, solution: ConicSolution) -> ConicSolution:
        """Return the solution in the unknowns of the program given."""
        c, r = self.unknowns, self.objective
        return replace(solution, x=solution.x * c, z=solution.z * (r / c))


def _power_of_two(size: float) -> float:
    # Bounded so that a square of a scale neither overflows nor vanishes; one for an empty or zero array.
    return math.ldexp(1.0, max(-200, min(200, math.frexp(size)[1]))) if size > 0 else 1.0
