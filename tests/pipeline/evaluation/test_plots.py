"""Figures: what is on them, read back from the files."""

import io
from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest

from sightsound.pipeline.evaluation.metrics import measure
from sightsound.pipeline.evaluation.plots import _most_frequent, draw_all
from sightsound.pipeline.evaluation.results import Confusion


def size(png):
    height, width, _ = matplotlib.image.imread(io.BytesIO(png)).shape
    return width, height


def test_single_label_task_has_four_figures_on_white(make_predictions):
    figures = draw_all(measure(make_predictions()), title="demo")
    assert list(figures) == ["confusion", "classes", "roc", "reliability"]
    for name, png in figures.items():
        picture = matplotlib.image.imread(io.BytesIO(png))
        assert picture[0, 0, :3].tolist() == [1, 1, 1], name
        assert picture[:, :, :3].min() < 0.3, name


def test_multi_label_task_has_no_confusion_matrix(make_predictions):
    figures = draw_all(measure(make_predictions(kind="multi")), title="demo")
    assert list(figures) == ["classes", "roc", "reliability"]


def test_labels_that_look_like_markup_are_drawn(make_predictions):
    names = ("$x$", "a_b^c", "\\frac{", "<b>", "é", "$", "%s")
    made = replace(make_predictions(), labels=names)
    assert len(draw_all(measure(made), title="$title_")) == 4


def test_hundred_labels_fit_into_a_figure_of_bounded_size(make_predictions):
    figures = draw_all(measure(make_predictions(n_samples=300, n_labels=100)), title="demo")
    width, height = size(figures["confusion"])
    # 10 pixels a label is the least that can be read.
    assert 1000 < width < 2200 and 1000 < height < 2200


def test_same_figure_is_the_same_bytes(make_predictions):
    scores = measure(make_predictions(n_labels=3))
    assert draw_all(scores, title="demo") == draw_all(scores, title="demo")


@pytest.mark.parametrize("n_labels", [100, 130])
def test_counts_of_labels_left_over_are_kept(n_labels):
    random = np.random.default_rng(0)
    counts = random.integers(0, 9, (n_labels, n_labels))
    confusion = Confusion(
        labels=tuple(f"label {i}" for i in range(n_labels)),
        counts=tuple(map(tuple, counts.tolist())),
    )
    labels, shown = _most_frequent(confusion)
    assert len(labels) == len(shown) == min(n_labels, 101)
    assert shown.sum() == counts.sum()
