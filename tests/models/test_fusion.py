"""Properties of the bottleneck fusion that hold whatever its weights are."""

import numpy as np
import pytest
import torch

from sightsound.models.fusion import BottleneckFusion

VISUAL_DIM, AUDIO_DIM = 24, 16
N_VISUAL, N_AUDIO = 6, 5
TASKS = {"action": 7, "scene": 3}


@pytest.fixture
def network() -> BottleneckFusion:
    torch.manual_seed(0)
    network = BottleneckFusion(visual_dim=VISUAL_DIM, audio_dim=AUDIO_DIM, tasks=TASKS, dim=32)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.eval()


def tokens(seed: int = 1, *, n_rows: int = 3) -> list[torch.Tensor]:
    """Inputs of which every row has another number of visual and audio tokens."""
    generator = torch.Generator().manual_seed(seed)
    visual_count = torch.arange(n_rows)[:, None] + 2
    audio_count = torch.arange(n_rows)[:, None] + 1
    return [
        torch.randn((n_rows, N_VISUAL, VISUAL_DIM), generator=generator),
        torch.rand((n_rows, N_VISUAL), generator=generator) * 8,
        torch.arange(N_VISUAL)[None] < visual_count,
        torch.randn((n_rows, N_AUDIO, AUDIO_DIM), generator=generator),
        torch.rand((n_rows, N_AUDIO), generator=generator) * 8,
        torch.arange(N_AUDIO)[None] < audio_count,
    ]


def test_outputs_are_logits_by_task_embedding_and_attention(network):
    outputs = network(*tokens())
    shapes = [tuple(output.shape) for output in outputs]
    assert shapes == [(3, 7), (3, 3), (3, 32), (3, N_VISUAL), (3, N_AUDIO)]


@torch.inference_mode()
def test_what_masked_tokens_hold_never_matters(network):
    inputs = tokens()
    before = network(*inputs)
    for values, times, mask in (inputs[:3], inputs[3:]):
        values[~mask] = 1e4
        times[~mask] = 77.0
    for old, new in zip(before, network(*inputs), strict=True):
        torch.testing.assert_close(old, new)


@torch.inference_mode()
def test_more_padding_changes_nothing(network):
    inputs = tokens()
    wider = [
        torch.nn.functional.pad(each, (0, 0, 0, 9) if each.dim() == 3 else (0, 9))
        for each in inputs
    ]
    before, after = network(*inputs), network(*wider)
    for old, new in zip(before[:3], after[:3], strict=True):
        torch.testing.assert_close(old, new, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("absent", [(2,), (5,), (2, 5)], ids=["picture", "sound", "both"])
@torch.inference_mode()
def test_a_missing_sense_gives_finite_logits(network, absent):
    inputs = tokens()
    for position in absent:
        inputs[position] = torch.zeros_like(inputs[position])
    assert all(torch.isfinite(output).all() for output in network(*inputs))


@torch.inference_mode()
def test_a_missing_sense_leaves_no_trace_of_its_tokens(network):
    inputs, others = tokens(), tokens()
    inputs[5] = others[5] = torch.zeros_like(inputs[5])
    others[3] = others[3] * -3 + 1
    for one, other in zip(network(*inputs), network(*others), strict=True):
        torch.testing.assert_close(one, other)


@torch.inference_mode()
def test_tokens_may_come_in_any_order_with_their_times(network):
    inputs = tokens()
    order_v, order_a = torch.randperm(N_VISUAL), torch.randperm(N_AUDIO)
    shuffled = [each[:, order_v] for each in inputs[:3]] + [each[:, order_a] for each in inputs[3:]]
    before, after = network(*inputs), network(*shuffled)
    for old, new in zip(before[:3], after[:3], strict=True):
        torch.testing.assert_close(old, new, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(before[3][:, order_v], after[3])


@torch.inference_mode()
def test_times_matter(network):
    inputs = tokens()
    before = network(*inputs)[0]
    inputs[1] = inputs[1] * 0.5
    assert not torch.allclose(before, network(*inputs)[0])


@torch.inference_mode()
def test_attention_adds_up_to_one_over_both_senses(network):
    inputs = tokens()
    *_, visual, audio = network(*inputs)
    torch.testing.assert_close(visual.sum(dim=1) + audio.sum(dim=1), torch.ones(3))
    assert not visual[~inputs[2]].any()
    assert not audio[~inputs[5]].any()


def test_export_to_openvino_agrees_with_torch(network):
    openvino = pytest.importorskip("openvino")
    inputs = tokens(n_rows=1)
    model = openvino.convert_model(network, example_input=tuple(inputs))
    compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    # Masks other than the one it was traced with, and a window without sound.
    for mask_seed, has_audio in ((0, True), (1, True), (2, False)):
        generator = torch.Generator().manual_seed(mask_seed)
        other = tokens(mask_seed + 5, n_rows=1)
        other[2] = torch.rand((1, N_VISUAL), generator=generator) < 0.7
        other[2][0, 0] = True
        other[5] = torch.full((1, N_AUDIO), has_audio)
        with torch.inference_mode():
            expected = network(*other)
        results = compiled([each.numpy() for each in other])
        for position, tensor in enumerate(expected):
            np.testing.assert_allclose(results[position], tensor.numpy(), atol=1e-3)
