"""A program in other units: the tolerances of most solvers are partly absolute."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from convexrelu.backends.conic import ConicProgram, ConicSolution, Vector


@dataclass(frozen=True, eq=False)
class Scaling:
    """Hold the units of a program: x = unknowns * x', the rows of A x + s = b times `rows`, the objective's unit.

    Within a second-order, semidefinite or exponential cone all rows must have the same factor; then the cones do not
    change. With powers of two nothing is rounded.
    """

    unknowns: Vector | float
    rows: Vector | float
    objective: float

    def apply(self, program: ConicProgram) -> ConicProgram:
        """Return the program in scaled unknowns."""
        c, r = np.broadcast_to(self.unknowns, program.n_variables), self.objective
        C = sp.diags_array(c)
        R = sp.diags_array(np.broadcast_to(self.rows, program.n_rows))
        P = None if program.P is None else sp.csc_array(C @ program.P @ C / r)
        return replace(program, P=P, q=program.q * c / r, A=sp.csc_array(R @ program.A @ C), b=program.b * self.rows)

    def undo(self, solution: ConicSolution) -> ConicSolution:
        """Return the solution in the unknowns of the program given."""
        return replace(solution, x=solution.x * self.unknowns, z=solution.z * self.rows * self.objective)
