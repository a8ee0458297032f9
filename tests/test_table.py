"""Columns of CSV files; what is wrong with a file is tested through the command line."""

import numpy as np
import pytest

from convexrelu.errors import InvalidInputError
from convexrelu.table import read_columns


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "data.csv"
    file.write_text("a,w,b,y\n1,0.5,7,0\n2,1,7,1\n6,1,7,1\n", encoding="utf-8")
    return str(file)


def test_what_is_neither_target_nor_weight_is_a_feature(path):
    data = read_columns(path, ["-1"], "w")
    assert (data.features, data.targets, data.weight_name) == (["a", "b"], ["y"], "w")
    np.testing.assert_array_equal(data.X, [[1, 7], [2, 7], [6, 7]])
    np.testing.assert_array_equal(data.weight, [0.5, 1, 1])
    assert read_columns(path, ["y", "y"]).features == ["a", "w", "b"]


def test_given_features_keep_their_order(path):
    assert read_columns(path, ["y"], None, ["b", "a"]).X[0].tolist() == [7, 1]
    with pytest.raises(InvalidInputError, match="leave some features"):
        read_columns(path, ["a", "b", "y"], "w")


@pytest.mark.parametrize("targets_too", [True, False])
def test_scaling_leaves_constants_and_labels_in_their_units(path, targets_too):
    data = read_columns(path, ["y"])
    scaled = data.scaled(data.scaling(targets_too))
    np.testing.assert_allclose(scaled.X.mean(axis=0), 0, atol=1e-15)
    np.testing.assert_allclose(scaled.X.std(axis=0), [1, 1, 0])
    assert np.allclose(scaled.Y.std(axis=0), 1) == targets_too
    assert (scaled.Y == data.Y).all() != targets_too
    assert data.scaled(None) is data
