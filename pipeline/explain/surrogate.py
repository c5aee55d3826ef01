"""A surrogate: a small decision tree over concepts that says what the model says.

Trees as global surrogates of a black box: Craven and Shavlik 1996, "Extracting tree-structured
representations of trained networks". A surrogate explains the model only as far as it agrees
with it (its fidelity), so that is measured on windows that it was not fitted on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeClassifier

from sightsound.pipeline.explain.concepts import ConceptTable
from sightsound.pipeline.explain.errors import ExplainError

MAX_DEPTH = 4
_LEAST_WINDOWS = 8
_MOST_FOLDS = 5
_LEAST_IN_A_LEAF = 2
# A concept that is never surer than this in any window makes a rule that nobody can check.
_LEAST_SCORE = 0.05


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A concept's mean score in the window is above ``threshold``, or at most that.

    ``or_missing`` says that windows without the sense go this way, too.
    """

    concept: str
    is_above: bool
    threshold: float
    or_missing: bool

    def __str__(self) -> str:
        """As people read it."""
        relation = ">" if self.is_above else "<="
        sense, _, name = self.concept.partition(": ")
        nothing = f" or nothing {sense}" if self.or_missing else ""
        return f'{sense} "{name}" {relation} {self.threshold:.3f}{nothing}'


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Where all conditions hold the tree says ``label``.

    They hold in ``n_windows`` of the windows fitted, and the model agrees in ``n_agreeing``.
    """

    conditions: tuple[Condition, ...]
    label: str
    n_windows: int
    n_agreeing: int


@dataclass(frozen=True, kw_only=True)
class Surrogate:
    """A fitted tree as rules, and how far it can be believed.

    ``fidelity`` is the share of windows on which a tree agrees with the model that was fitted
    without them and without those that overlap them; ``fidelity_fitted`` that of the tree shown,
    on its own windows; ``commonest_share`` what always saying the commonest label would reach.
    """

    task: str
    rules: tuple[Rule, ...]
    n_windows: int
    n_videos: int
    n_labels: int
    n_folds: int
    fidelity: float
    fidelity_fitted: float
    commonest_share: float


def fit_surrogate(table: ConceptTable, *, max_depth: int = MAX_DEPTH) -> Surrogate:
    """Fit a tree to the model's best labels and measure its fidelity.

    Raises:
        ExplainError: there are too few windows, or all have one label.
    """
    n_windows, counts = len(table.labels), Counter(table.labels)
    if n_windows < _LEAST_WINDOWS:
        raise ExplainError(
            f"Rules need at least {_LEAST_WINDOWS} windows that answer {table.task}, and here "
            f"{'is' if n_windows == 1 else 'are'} {n_windows}: give more or longer videos."
        )
    if len(counts) == 1:
        raise ExplainError(
            f"Rules need windows that differ, but all {n_windows} have the {table.task} "
            f"{table.labels[0]}: give other videos with them."
        )
    kept = np.flatnonzero(np.nan_to_num(table.values).max(axis=0) >= _LEAST_SCORE)
    values, labels = table.values[:, kept], np.array(table.labels)
    names = [table.names[column] for column in kept]
    agreed = n_tested = n_folds = 0
    for train, test in held_out(table):
        if len(train):
            predicted = _tree(max_depth).fit(values[train], labels[train]).predict(values[test])
            agreed += int((predicted == labels[test]).sum())
        n_tested += len(test)
        n_folds += 1
    tree = _tree(max_depth).fit(values, labels)
    predicted = tree.predict(values)
    return Surrogate(
        task=table.task,
        rules=tuple(_rules(tree, names, values, labels)),
        n_windows=n_windows,
        n_videos=len(set(table.videos.tolist())),
        n_labels=len(counts),
        n_folds=n_folds,
        fidelity=agreed / n_tested,
        fidelity_fitted=float((predicted == labels).mean()),
        commonest_share=counts.most_common(1)[0][1] / n_windows,
    )


def held_out(table: ConceptTable) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows to fit on and to test on, fold by fold, each row being tested once.

    A fold tests one stretch of every video. Windows that overlap those tested are not fitted
    on, since they show the same frames.
    """
    n_windows = len(table.labels)
    n_folds = min(_MOST_FOLDS, n_windows)
    folds = np.zeros(n_windows, dtype=np.int64)
    for video in np.unique(table.videos):
        rows = np.flatnonzero(table.videos == video)
        # Videos of few windows begin in different folds, so that no fold is left empty.
        folds[rows] = (np.arange(len(rows)) * n_folds // len(rows) + int(video)) % n_folds
    for fold in range(n_folds):
        test = np.flatnonzero(folds == fold)
        if not len(test):
            continue
        same = table.videos[:, None] == table.videos[None, test]
        before = table.ends_s[:, None] <= table.starts_s[None, test]
        after = table.starts_s[:, None] >= table.ends_s[None, test]
        overlaps = (same & ~(before | after)).any(axis=1)
        yield np.flatnonzero(~overlaps & (folds != fold)), test


def rule_lines(surrogate: Surrogate) -> list[str]:
    """The tree as people read it: a line for each rule, and how far to believe it."""
    lines = []
    for rule in surrogate.rules:
        conditions = " and ".join(str(condition) for condition in rule.conditions)
        lines.append(
            f"if {conditions or 'anything'}\n    then {rule.label}"
            f"  ({rule.n_agreeing} of {rule.n_windows} windows)"
        )
    lines.append(
        f"Fidelity: these rules agree with the model on {surrogate.fidelity_fitted:.0%} of the "
        f"{surrogate.n_windows} windows that they were made from. Rules made without the windows "
        f"they are tested on ({surrogate.n_folds} folds) agree on {surrogate.fidelity:.0%}; always "
        f"saying the commonest of the {surrogate.n_labels} labels would on "
        f"{surrogate.commonest_share:.0%}."
    )
    return lines


def surrogate_json(surrogate: Surrogate) -> dict[str, Any]:
    """A surrogate as JSON takes it."""
    return {
        "task": surrogate.task,
        "n_windows": surrogate.n_windows,
        "n_videos": surrogate.n_videos,
        "n_labels": surrogate.n_labels,
        "fidelity": {
            "held_out": surrogate.fidelity,
            "n_folds": surrogate.n_folds,
            "fitted": surrogate.fidelity_fitted,
            "commonest_label": surrogate.commonest_share,
        },
        "rules": [
            {
                "conditions": [
                    {
                        "concept": condition.concept,
                        "relation": ">" if condition.is_above else "<=",
                        "threshold": condition.threshold,
                        "or_missing": condition.or_missing,
                    }
                    for condition in rule.conditions
                ],
                "label": rule.label,
                "n_windows": rule.n_windows,
                "n_agreeing": rule.n_agreeing,
            }
            for rule in surrogate.rules
        ],
    }


def _tree(max_depth: int) -> DecisionTreeClassifier:
    return DecisionTreeClassifier(
        max_depth=max_depth, min_samples_leaf=_LEAST_IN_A_LEAF, random_state=0
    )


def _rules(
    fitted: DecisionTreeClassifier,
    names: list[str],
    values: NDArray[np.float32],
    labels: NDArray[np.str_],
) -> Iterator[Rule]:
    """The leaves of a tree, left to right, each with the conditions on the way to it."""
    tree = fitted.tree_
    reached = fitted.apply(values)
    may_miss = [bool(missing) for missing in np.isnan(values.sum(axis=0))]

    def descend(node: int, conditions: tuple[Condition, ...]) -> Iterator[Rule]:
        if tree.children_left[node] == tree.children_right[node]:
            label = str(fitted.classes_[int(tree.value[node][0].argmax())])
            here = labels[reached == node]
            yield Rule(
                conditions=conditions,
                label=label,
                n_windows=len(here),
                n_agreeing=int((here == label).sum()),
            )
            return
        column = int(tree.feature[node])
        missing_left = bool(tree.missing_go_to_left[node])
        for child, is_above in (
            (tree.children_left[node], False),
            (tree.children_right[node], True),
        ):
            condition = Condition(
                concept=names[column],
                is_above=is_above,
                threshold=float(tree.threshold[node]),
                or_missing=may_miss[column] and missing_left != is_above,
            )
            yield from descend(int(child), (*conditions, condition))

    yield from descend(0, ())
