"""Two-layer ReLU networks with weight decay, trained to a certified global optimum.

Training such a network is a convex problem in disguise: over the activation patterns of the data it is a finite convex
program. This package builds and solves it, hands back the network, and proves how far any network is from the optimum.

Importing the package loads none of its modules; each public name loads its own on first use.

Examples
--------
>>> import convexrelu as cr
>>> problem = cr.TrainingProblem([[0.0], [1.0], [2.0]], [0.0, 1.0, 0.0], weight_decay=0.1)
>>> result = cr.solve(problem, patterns="enumerate")
>>> result.certificate.scope
'global'
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convexrelu import errors as errors
    from convexrelu import losses as losses
    from convexrelu import univariate as univariate
    from convexrelu.backends import available_backends as available_backends
    from convexrelu.certificate import Certificate as Certificate
    from convexrelu.certify import certify as certify
    from convexrelu.gated import GatedResult as GatedResult
    from convexrelu.kernel import Kernel as Kernel
    from convexrelu.network import Network as Network
    from convexrelu.optimal_set import OptimalSet as OptimalSet
    from convexrelu.path import Path as Path
    from convexrelu.path import solve_path as solve_path
    from convexrelu.patterns import Patterns as Patterns
    from convexrelu.patterns import enumerate_patterns as enumerate_patterns
    from convexrelu.patterns import sample_patterns as sample_patterns
    from convexrelu.problem import TrainingProblem as TrainingProblem
    from convexrelu.result import Result as Result
    from convexrelu.result import Solution as Solution
    from convexrelu.result import Status as Status
    from convexrelu.sensitivity import Sensitivity as Sensitivity
    from convexrelu.sensitivity import sensitivity as sensitivity
    from convexrelu.solve import solve as solve
    from convexrelu.verification import Verdict as Verdict
    from convexrelu.verification import Verification as Verification
    from convexrelu.verify import improve as improve
    from convexrelu.verify import verify as verify

__version__ = "0.1.0"

# Public name -> the module it lives in.
_HOME = {
    "Certificate": "certificate",
    "GatedResult": "gated",
    "Kernel": "kernel",
    "Network": "network",
    "OptimalSet": "optimal_set",
    "Path": "path",
    "Patterns": "patterns",
    "Result": "result",
    "Sensitivity": "sensitivity",
    "Solution": "result",
    "Status": "result",
    "TrainingProblem": "problem",
    "available_backends": "backends",
    "certify": "certify",
    "enumerate_patterns": "patterns",
    "improve": "verify",
    "sample_patterns": "patterns",
    "sensitivity": "sensitivity",
    "solve": "solve",
    "solve_path": "path",
    "Verdict": "verification",
    "Verification": "verification",
    "verify": "verify",
}

_MODULES = ("errors", "losses", "univariate")

__all__ = [  # noqa: RUF022 - sorted by the flow: problem, patterns, solve, answers
    "TrainingProblem",
    "Patterns",
    "enumerate_patterns",
    "sample_patterns",
    "available_backends",
    "solve",
    "GatedResult",
    "Result",
    "Status",
    "Solution",
    "Network",
    "Kernel",
    "Certificate",
    "certify",
    "losses",
    "univariate",
    "OptimalSet",
    "solve_path",
    "Path",
    "sensitivity",
    "Sensitivity",
    "verify",
    "Verification",
    "Verdict",
    "improve",
    "errors",
    "__version__",
]


class _Package(ModuleType):
    """The type of this package: keeps `convexrelu.solve` the function.

    Python binds an imported submodule as an attribute of its package, so importing the module ``convexrelu.solve``
    would otherwise replace the function of that name.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if isinstance(value, ModuleType) and _HOME.get(name) == name:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"convexrelu.{name}")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"convexrelu.{_HOME[name]}"), name)
    globals()[name] = value  # the next access is a plain look-up
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
