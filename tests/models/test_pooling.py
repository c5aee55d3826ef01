"""Pooling of moments into a window."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sightsound.models.pooling import linear_softmax_pool, sigmoid, softmax

PROBABILITIES = arrays(np.float32, (7, 3), elements=st.floats(0, 1, width=32))
LOGITS = arrays(np.float32, (2, 5), elements=st.floats(-100, 100, width=32))


@given(PROBABILITIES)
def test_linear_softmax_lies_between_mean_and_maximum(probabilities):
    pooled = linear_softmax_pool(probabilities)
    assert (pooled <= probabilities.max(axis=0) + 1e-5).all()
    assert (pooled >= probabilities.mean(axis=0) - 1e-5).all()


@given(PROBABILITIES)
def test_linear_softmax_does_not_depend_on_the_order(probabilities):
    np.testing.assert_allclose(
        linear_softmax_pool(probabilities), linear_softmax_pool(probabilities[::-1]), atol=1e-6
    )


def test_short_event_is_not_averaged_away():
    moments = np.zeros((16, 1), dtype=np.float32)
    moments[3] = 0.9
    assert linear_softmax_pool(moments)[0] > 0.85
    assert moments.mean() < 0.06


@given(LOGITS)
def test_softmax_adds_up_to_one(logits):
    np.testing.assert_allclose(softmax(logits).sum(axis=-1), 1, atol=1e-5)


def test_temperature_flattens():
    logits = np.array([0.0, 2.0], dtype=np.float32)
    assert softmax(logits, temperature=4.0)[1] < softmax(logits)[1]


def test_sigmoid_of_extreme_logits_is_finite():
    found = sigmoid(np.array([-1000.0, 0.0, 1000.0], dtype=np.float32))
    np.testing.assert_allclose(found, [0, 0.5, 1], atol=1e-6)
