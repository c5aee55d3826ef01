"""Rules say what the tree says, are tested on what they were not made from, or are refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightsound.pipeline.explain.concepts import ConceptTable, concept_names
from sightsound.pipeline.explain.errors import ExplainError
from sightsound.pipeline.explain.surrogate import (
    MAX_DEPTH,
    Condition,
    fit_surrogate,
    held_out,
    rule_lines,
)

NAMES = ("seen: dog", "seen: bike", "heard: Bark")


def table_of(values, labels, *, windows_a_video=10) -> ConceptTable:
    values = np.asarray(values, dtype=np.float32)
    numbers = np.arange(len(labels))
    starts_s = (numbers % windows_a_video) * 4.0
    return ConceptTable(
        task="action",
        names=NAMES,
        values=values,
        videos=numbers // windows_a_video,
        starts_s=starts_s,
        ends_s=starts_s + 8.0,
        labels=tuple(labels),
    )


def two_kinds(n_windows=40) -> ConceptTable:
    """A dog is walked where one is seen; whatever else is seen or heard is chance."""
    random = np.random.default_rng(0)
    values = random.random((n_windows, 3))
    labels = ["walking dog" if row[0] > 0.5 else "cycling" for row in values]
    return table_of(values, labels)


def holds(condition: Condition, row: np.ndarray) -> bool:
    value = row[NAMES.index(condition.concept)]
    if np.isnan(value):
        return condition.or_missing
    return (value > condition.threshold) == condition.is_above


def said(surrogate, row: np.ndarray) -> list[str]:
    return [
        rule.label
        for rule in surrogate.rules
        if all(holds(condition, row) for condition in rule.conditions)
    ]


def test_the_concept_that_decides_is_found():
    surrogate = fit_surrogate(two_kinds())
    assert {rule.conditions[0].concept for rule in surrogate.rules} == {"seen: dog"}
    assert surrogate.fidelity_fitted == 1
    assert surrogate.fidelity > 0.85 > surrogate.commonest_share


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_exactly_one_rule_speaks_for_each_window_and_they_count_right(seed):
    random = np.random.default_rng(seed)
    values = random.random((30, 3))
    values[random.random(30) < 0.3, 2] = np.nan
    labels = random.choice(["a", "b", "c"], 30)
    table = table_of(values, labels)
    surrogate = fit_surrogate(table)
    answers = [said(surrogate, row) for row in table.values]
    assert all(len(answer) == 1 for answer in answers)
    agreed = sum(answer[0] == label for answer, label in zip(answers, labels, strict=True))
    assert sum(rule.n_windows for rule in surrogate.rules) == 30
    assert sum(rule.n_agreeing for rule in surrogate.rules) == agreed
    assert surrogate.fidelity_fitted == pytest.approx(agreed / 30)
    assert max(len(rule.conditions) for rule in surrogate.rules) <= MAX_DEPTH


def test_chance_is_not_told_as_fidelity():
    random = np.random.default_rng(1)
    labels = random.choice(["a", "b"], 60)
    surrogate = fit_surrogate(table_of(random.random((60, 3)), labels))
    assert surrogate.fidelity < 0.7
    assert surrogate.fidelity < surrogate.fidelity_fitted


def test_windows_that_overlap_those_tested_are_not_fitted_on():
    table = two_kinds()
    tested = []
    for train, test in held_out(table):
        tested += test.tolist()
        for row in test:
            beside = table.videos[train] == table.videos[row]
            ends = table.ends_s[train][beside] <= table.starts_s[row]
            begins = table.starts_s[train][beside] >= table.ends_s[row]
            assert (ends | begins).all()
    assert sorted(tested) == list(range(len(table.labels)))


def test_too_few_windows_are_refused_in_one_sentence():
    with pytest.raises(ExplainError, match=r"at least 8 windows .* here are 3: give more"):
        fit_surrogate(table_of(np.zeros((3, 3)), ["a", "b", "a"]))


def test_windows_of_one_label_are_refused():
    with pytest.raises(ExplainError, match="all 9 have the action a"):
        fit_surrogate(table_of(np.ones((9, 3)), ["a"] * 9))


def test_rules_are_read_as_sentences():
    lines = rule_lines(fit_surrogate(two_kinds()))
    assert lines[0].startswith('if seen "dog" <= 0.')
    assert "then cycling" in lines[0] and "windows)" in lines[0]
    assert "commonest of the 2 labels" in lines[-1]


def test_concepts_have_names_of_their_own():
    names = concept_names()
    assert len(names) == 1521 == len(set(names))
    assert "seen: golden retriever" in names and "heard: Speech" in names
