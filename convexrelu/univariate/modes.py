"""The choices of `TrainingProblem` in the 1-D engine: `output_bias_of`, and `check_modes` where not all are known."""

from __future__ import annotations

from convexrelu.errors import UnsupportedError
from convexrelu.validation import check_choice

BIASES = ("free", "penalized")
SKIPS = ("free", "none")
MODES = ("none", "penalized", "free")


def check_modes(bias: str, skip: str, skips: tuple[str, ...] = SKIPS, biases: tuple[str, ...] = BIASES) -> None:
    """Raise if a choice is unknown, or known to `convexrelu.solve` only."""
    for value, name, served in ((bias, "bias", biases), (skip, "skip", skips)):
        check_choice(value, name, MODES)
        if value not in served:
            raise UnsupportedError(
                f"`{name}={value!r}` is not part of the 1-D engine; use `convexrelu.solve`, "
                f"or one of {', '.join(map(repr, served))}."
            )


def output_bias_of(output_bias: str | None, bias: str, skip: str) -> str:
    """The output bias meant, as `TrainingProblem` has it; the three choices checked by name."""
    for value, name in ((bias, "bias"), (skip, "skip")):
        check_choice(value, name, MODES)
    if output_bias is None:
        return "free" if "free" in (bias, skip) else "none"
    return check_choice(output_bias, "output_bias", MODES)
