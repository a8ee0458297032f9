"""CSV files of numbers, as the command line takes them: `read_columns`.

Letters: `X` (n, d) features, `Y` (n, T) targets, `weight` (n,) sample weights.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from convexrelu.arrays import Array
from convexrelu.errors import InvalidInputError


@dataclass(frozen=True)
class Columns:
    """The columns of a file by their parts, and their names; without sample weights `weight` is None."""

    X: Array
    Y: Array
    weight: Array | None
    features: list[str]
    targets: list[str]
    weight_name: str | None

    def scaling(self, targets_too: bool) -> dict[str, list[float]]:
        """Mean and standard deviation (1 for a constant column) of each feature, then each target, if these are scaled.

        Sample weights do not count: the scaling is a choice of units, the weights belong to the loss.
        """
        values = np.hstack([self.X, self.Y])
        center, spread = values.mean(axis=0), np.where(np.ptp(values, axis=0) > 0, values.std(axis=0), 1.0)
        if not targets_too:
            center[len(self.features) :], spread[len(self.features) :] = 0.0, 1.0
        return {"center": center.tolist(), "scale": spread.tolist()}

    def scaled(self, scaling: dict[str, list[float]] | None) -> Columns:
        """Features and targets less their centers, divided by their scales; the same without a scaling."""
        if scaling is None:
            return self
        values = (np.hstack([self.X, self.Y]) - scaling["center"]) / scaling["scale"]
        return replace(self, X=values[:, : len(self.features)], Y=values[:, len(self.features) :])


def read_columns(
    path: str, targets: Sequence[str], weight: str | None = None, features: Sequence[str] | None = None
) -> Columns:
    """Read features, targets and sample weights from a CSV file of numbers under a header line.

    Parameters
    ----------
    path : str
    targets : sequence of str
        Names or numbers (from 0; negative from the end) of the target columns.
    weight : str, optional
        That of the sample weights.
    features : sequence of str, optional
        Those of the features; by default every other column.

    Raises
    ------
    InvalidInputError
        If the file is not such a table, a column is missing or has two parts, or no feature is left.
    """
    table = _read(path)
    target_names = list(dict.fromkeys(table.column(key) for key in targets))
    weight_name = None if weight is None else table.column(weight)
    if weight_name in target_names:
        raise InvalidInputError(f"`--sample-weight {weight}` is the target {weight_name!r}; name another column.")
    if features is None:
        names = [name for name in table.names if name not in (*target_names, weight_name)]
    else:
        names = [table.column(key) for key in features]
    if not names:
        taken = "`--target`" if weight is None else "`--target` and `--sample-weight`"
        raise InvalidInputError(f"{taken} take all {len(table.names)} columns of {path}; leave some features.")
    weights = None if weight_name is None else table.select([weight_name])[:, 0]
    return Columns(table.select(names), table.select(target_names), weights, names, target_names, weight_name)


@dataclass(frozen=True)
class _Table:
    """Names of the columns and a float matrix (rows, columns)."""

    path: str
    names: list[str]
    values: Array

    def column(self, key: str) -> str:
        """Name of the column that `key` names or numbers."""
        if self.names.count(key) == 1:
            return key
        try:
            return self.names[int(key)]
        except (ValueError, IndexError):
            known = ", ".join(self.names[:10]) + (", ..." if len(self.names) > 10 else "")
            message = f"{self.path} has no column {key!r}; its {len(self.names)} columns are: {known}."
            raise InvalidInputError(message) from None

    def select(self, names: Sequence[str]) -> Array:
        return self.values[:, [self.names.index(name) for name in names]]


def _read(path: str) -> _Table:
    with open(path, newline="", encoding="utf-8-sig") as file:
        try:
            rows = [(line, row) for line, row in enumerate(csv.reader(file), 1) if any(cell.strip() for cell in row)]
        except (csv.Error, UnicodeDecodeError) as error:
            raise InvalidInputError(f"{path} is not a CSV file in UTF-8: {error}.") from None
    if len(rows) < 2:
        raise InvalidInputError(f"{path} has {len(rows)} non-empty lines; it needs a header and at least one row.")
    names = [name.strip() for name in rows[0][1]]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InvalidInputError(f"{path} has two columns named {repeated[0]!r}; rename one.")
    if len(names) < 2:
        raise InvalidInputError(f"{path} has the single column {names[0]!r}; it needs features and a target.")
    return _Table(path, names, np.array([_numbers(path, line, names, row) for line, row in rows[1:]]))


def _numbers(path: str, line: int, names: list[str], row: list[str]) -> list[float]:
    if len(row) != len(names):
        raise InvalidInputError(f"{path}, row {line}: {len(row)} cells where the header has {len(names)}.")
    return [_number(path, line, name, cell) for name, cell in zip(names, row, strict=True)]


def _number(path: str, line: int, name: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise InvalidInputError(f"{path}, row {line}, column {name!r}: {cell!r} is not a finite number.")
    return value
