"""Branch and bound over directions: it finds the active directions that listing all patterns finds, and misses none."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from strategies import examples, problems

import convexrelu as cr
from convexrelu.optimal_set import proof
from convexrelu.pricing.exclusion import rule_out


@pytest.fixture
def few(monkeypatch):
    """Take every data set for one with too many patterns to list."""
    monkeypatch.setattr(proof, "_all_patterns", lambda census, result: None)


def exclusion(optimal, known, target):
    arrangement, directions = optimal.problem.arrangement, optimal.directions
    neurons, signs = directions.neurons[known], directions.signs[known]
    if optimal.problem.skip == "free":
        neurons, signs = np.vstack([neurons, -neurons]), np.concatenate([signs, signs])
    nu, p = optimal.state.nu, arrangement.n_penalized
    return rule_out(arrangement.Z, nu, p, target=target, known=neurons, signs=signs, max_boxes=20_000, seconds=20.0)


@examples(30)
@given(problems(max_n=5, weighted=False))
def test_a_direction_that_is_left_out_is_never_ruled_out(problem):
    optimal = cr.solve(problem, patterns="enumerate").optimal_set()
    target = problem.weight_decay * (1 - 1e-9)
    for missing in range(len(optimal.directions)):
        known = np.arange(len(optimal.directions)) != missing
        mates = optimal.directions.segments[(optimal.directions.segments == missing).any(axis=1)]
        if not len(mates):  # the other end of a segment stands for the whole of it
            assert not exclusion(optimal, known, target).finished


def random_problem(seed):
    rng = np.random.default_rng(seed)
    bias, skip = ("none", "penalized", "free")[seed % 3], ("none", "free", "penalized")[seed // 3 % 3]
    return cr.TrainingProblem(rng.standard_normal((9, 2)), rng.standard_normal(9), 0.1, bias=bias, skip=skip)


@pytest.mark.parametrize("seed", range(9))
def test_it_finds_what_listing_finds(seed, few):
    problem = random_problem(seed)
    result = cr.solve(problem, patterns="enumerate")
    proven = result.optimal_set()
    assert proven.complete and "boxes" in proven.completeness
    patterns = result.patterns
    census = proof.Census(proven.optimum, None, 1e-9)
    assert len(census.directions(census.listed(patterns)[0])) == len(proven.directions)


def test_what_the_search_misses_is_met(few, monkeypatch):
    angle = 2 * np.pi * np.arange(5) / 5
    problem = cr.TrainingProblem(np.column_stack([np.cos(angle), np.sin(angle)]), np.ones(5), 0.1, bias="none")
    monkeypatch.setattr(proof.Census, "searched", lambda census: census.optimum.neurons[:0])
    optimal = cr.solve(problem).optimal_set()
    assert optimal.complete and len(optimal.directions) == 10


def test_without_a_budget_nothing_is_claimed(few, monkeypatch):
    monkeypatch.setattr(proof, "MAX_BOXES", 1)
    result = cr.solve(random_problem(1))
    optimal = replace(result, given_patterns=None).optimal_set()
    assert not optimal.complete and optimal.is_unique is None and "not finish" in optimal.completeness
    assert "may be more" in optimal.reason
