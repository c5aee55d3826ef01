"""Attributions add up, lie where the evidence is, and scores are those of the stages."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.networks import audio_backbone, visual_backbone

from sightsound.models.bundle import Task, load_bundle
from sightsound.models.pooling import linear_softmax_pool, mean_pool, sigmoid, softmax
from sightsound.pipeline.explain.attributions import attribute, region_weights, token_weights
from sightsound.pipeline.explain.contributions import contributions
from sightsound.pipeline.explain.feature_map import FeatureMap
from sightsound.pipeline.explain.scores import FusedScore, LateScore
from sightsound.pipeline.explain.sources import GREY, Source
from sightsound.stages.records import Window

LABELS = ("dark", "bright", "else")
WINDOW = Window(index=1, start_s=4.0, end_s=12.0)


class Eye(torch.nn.Module):
    """Pictures (n, 1, 32, 32, 3) to embedding (n, 8) and logits (n, 3)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.stem = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 8, stride=8), torch.nn.ReLU())
        self.head = torch.nn.Linear(8, len(LABELS))

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = frames[:, 0].permute(0, 3, 1, 2).float() / 127.5 - 1
        embedding = self.stem(pixels).mean(dim=(2, 3))
        return embedding, self.head(embedding)


class Ear(torch.nn.Module):
    """Log-mel (n, 24, 16) to embedding (n, 8) and logits (n, 3)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.stem = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 4, stride=4), torch.nn.ReLU())
        self.head = torch.nn.Linear(8, len(LABELS))

    def forward(self, log_mel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        embedding = self.stem(log_mel[:, None]).mean(dim=(2, 3))
        return embedding, self.head(embedding)


def seen(n_tokens: int = 5) -> Source:
    """Grey pictures of which the third has a bright square below on the right."""
    inputs = torch.full((n_tokens, 1, 32, 32, 3), GREY)
    inputs[2, :, 16:, 16:] = 255.0
    return source(visual_backbone("eye"), Eye(), inputs, torch.full((1, 1, 32, 32, 3), GREY))


def heard(n_tokens: int = 4) -> Source:
    """Silence but for one patch with a sound in its upper bands."""
    inputs = torch.full((n_tokens, 24, 16), -6.0)
    inputs[1, :8, 8:] = 2.0
    return source(audio_backbone("ear"), Ear(), inputs, torch.full((1, 24, 16), -6.0))


def source(backbone, module, inputs, blank) -> Source:
    module = module.eval().requires_grad_(False)
    return Source(
        backbone=backbone,
        sense="visual" if inputs.dim() == 5 else "audio",
        times_s=WINDOW.start_s + np.arange(len(inputs), dtype=np.float64),
        module=module,
        output=1,
        inputs=inputs,
        outputs=module(inputs)[1],
        blank_input=blank,
        blank_output=module(blank)[1],
    )


def late(kind="multi", *sources: Source) -> LateScore:
    weights = {each.backbone.name: 1.0 + 2 * (each.sense == "audio") for each in sources}
    task = Task(name="what", kind=kind, labels=LABELS, sources=weights, temperature=0.7)
    return LateScore(task, sources)


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_late_scores_are_those_of_the_stage(kind):
    eye, ear = seen(), heard()
    score = late(kind, eye, ear)
    each = [
        softmax(part.outputs.numpy(), temperature=0.7)
        if kind == "single"
        else sigmoid(part.outputs.numpy() / np.float32(0.7))
        for part in (eye, ear)
    ]
    pool = mean_pool if kind == "single" else linear_softmax_pool
    expected = (pool(each[0]) + 3 * pool(each[1])) / 4
    np.testing.assert_allclose(score.probabilities(), expected, atol=1e-6)
    logits = score.logits([part.outputs[None] for part in (eye, ear)])[0]
    np.testing.assert_allclose(torch.sigmoid(logits), expected, atol=1e-6)


def test_leaving_a_sense_out_leaves_the_score_of_the_other():
    eye, ear = seen(), heard()
    both, alone = late("multi", eye, ear), late("multi", ear)
    found = contributions(both, label=1)
    assert found.without["visual"] == pytest.approx(alone.probabilities()[1])
    fall = both.probabilities()[1] - alone.probabilities()[1]
    assert found.leave_one_out["visual"] == pytest.approx(fall)
    assert found.attention_share is None


def test_without_the_only_sense_all_of_the_probability_falls():
    score = late("single", seen())
    found = contributions(score, label=0)
    assert found.without == {"visual": None}
    assert found.leave_one_out["visual"] == pytest.approx(score.probabilities()[0])


@pytest.mark.parametrize("kind", ["single", "multi"])
@pytest.mark.parametrize("label", [0, 1, 2])
def test_attributions_add_up_to_the_difference_from_the_baseline(kind, label):
    score = late(kind, seen(), heard())
    found = attribute(score, label=label)
    at = [each.outputs[None] for each in score.sources]
    blank = [each.blank_output.expand_as(each.outputs)[None] for each in score.sources]
    difference = float(score.logits(at)[0, label] - score.logits(blank)[0, label])
    total = sum(float(each.weights.sum()) for each in found.tokens)
    assert found.completeness.difference == pytest.approx(difference, abs=1e-4)
    assert total == pytest.approx(difference, abs=0.02 + 0.02 * abs(difference))
    for regions in found.regions:
        whole = regions.completeness
        assert whole.holds
        assert float(regions.cells.sum()) == pytest.approx(whole.total, abs=1e-5)
        assert whole.delta == pytest.approx(whole.total - whole.difference, abs=1e-6)


def test_moments_like_the_baseline_have_no_weight():
    tokens, _ = token_weights(late("multi", seen(), heard()), label=1)
    assert np.flatnonzero(np.abs(tokens[0].weights) > 1e-6).tolist() == [2]
    assert np.flatnonzero(np.abs(tokens[1].weights) > 1e-6).tolist() == [1]


def test_regions_lie_where_the_picture_differs_from_the_baseline():
    ((moved,), _) = token_weights(late("multi", seen()), label=1)
    regions = region_weights(moved, tokens=np.array([1, 2]))
    assert regions.cells.shape == (2, 1, 4, 4)
    differs = np.abs(regions.cells[1, 0]) > 1e-6
    assert differs[2:, 2:].all()
    assert not np.abs(regions.cells[0]).any()
    assert not differs[:2].any() and not differs[:, :2].any()


def test_regions_of_sound_lie_in_time_and_band():
    ((moved,), _) = token_weights(late("multi", heard()), label=1)
    regions = region_weights(moved, tokens=np.arange(4))
    assert regions.cells.shape == (4, 3, 2)
    where = np.argwhere(np.abs(regions.cells) > 1e-6)
    assert where.tolist() == [[1, 0, 1]]


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_regions_of_each_moment_add_up_to_its_weight(kind):
    source = heard()
    source.inputs[3] = source.inputs[1] * 0.5  # A second sound, fainter.
    source = replace(source, outputs=source.module(source.inputs)[1])
    ((moved,), _) = token_weights(late(kind, source), label=1)
    regions = region_weights(moved, tokens=np.arange(4))
    allowed = 0.05 * np.abs(moved.weights).max()
    np.testing.assert_allclose(regions.cells.sum(axis=(1, 2)), moved.weights, atol=allowed)
    assert np.count_nonzero(np.abs(moved.weights) > 1e-3) == 2


def test_finishing_from_the_feature_map_gives_what_the_network_gives():
    eye = seen()
    feature_map = FeatureMap(eye.module, eye.blank_input)
    found = feature_map.finish(feature_map.of(eye.inputs), output=1)
    torch.testing.assert_close(found, eye.outputs)


def test_a_network_that_forgets_where_at_once_is_refused():
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
    with pytest.raises(LookupError):
        FeatureMap(flat, torch.zeros((1, 2, 2, 3)))


@pytest.fixture(scope="module")
def fused() -> FusedScore:
    """The default bundle's fusion over tokens at random."""
    bundle = load_bundle("default")
    random = torch.Generator().manual_seed(0)
    parts = []
    for backbone, n_tokens in ((bundle.visual[0], 5), (bundle.audio[0], 4)):
        tokens = torch.rand((n_tokens, backbone.embedding_dim), generator=random)
        parts.append(
            Source(
                backbone=backbone,
                sense="visual" if backbone is bundle.visual[0] else "audio",
                times_s=WINDOW.start_s + np.arange(n_tokens, dtype=np.float64),
                module=torch.nn.Identity(),
                output=0,
                inputs=tokens,
                outputs=tokens,
                blank_input=tokens[:1] * 0.3,
                blank_output=tokens[:1] * 0.3,
            )
        )
    return FusedScore(bundle, bundle.tasks[0], tuple(parts), WINDOW)


def test_probabilities_of_the_fusion_add_up_and_sound_can_be_left_out(fused):
    for without in (None, "visual", "audio"):
        assert fused.probabilities(without=without).sum() == pytest.approx(1)
    alone = FusedScore(load_bundle("default"), fused.task, fused.sources[:1], WINDOW)
    np.testing.assert_allclose(
        fused.probabilities(without="audio"), alone.probabilities(), atol=1e-5
    )


def test_attention_of_the_fusion_is_shared_by_the_senses(fused):
    found = contributions(fused, label=3)
    assert sum(found.attention_share.values()) == pytest.approx(1, abs=1e-5)
    assert set(found.attention_share) == {"visual", "audio"}


def test_token_attributions_of_the_fusion_are_complete(fused):
    tokens, completeness = token_weights(fused, label=3)
    assert completeness.holds
    assert [len(each.weights) for each in tokens] == [5, 4]
    assert completeness.delta == pytest.approx(0, abs=0.05)
