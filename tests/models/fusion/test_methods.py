"""Properties of every method of fusion that hold whatever its weights are."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sightsound.models.engines.base import EngineOptions
from sightsound.models.errors import FusionError
from sightsound.models.fusion import METHODS, build_fusion
from sightsound.models.fusion.leaving_out import LeavingOut
from sightsound.models.networks import NetworkSpec, TensorSpec

VISUAL_DIM, AUDIO_DIM, DIM = 24, 16, 32
N_VISUAL, N_AUDIO = 6, 5
TASKS = {"scene": 3, "action": 7}
SIZES = {"dim": DIM, "n_layers": 2, "n_heads": 4, "n_bottlenecks": 3, "hidden": 20}
JOINT = tuple(method for method in METHODS if method not in ("visual", "audio"))
# What only one of them has: a GRU, inputs that nothing uses, attention between tokens.
QUICKLY_EXPORTED = ("bottleneck", "recurrent", "audio")
PICTURE, SOUND = slice(0, 3), slice(3, 6)


def make_network(method: str) -> torch.nn.Module:
    """A network whose outputs depend on every parameter."""
    torch.manual_seed(0)
    network = build_fusion(method, visual_dim=VISUAL_DIM, audio_dim=AUDIO_DIM, tasks=TASKS, **SIZES)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.eval()


NETWORKS = {method: make_network(method) for method in METHODS}
every_method = pytest.mark.parametrize("method", METHODS)
joint_methods = pytest.mark.parametrize("method", JOINT)


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


def without(inputs: list[torch.Tensor], *senses: slice) -> list[torch.Tensor]:
    """The inputs with all tokens of some senses masked."""
    changed = list(inputs)
    for sense in senses:
        changed[sense.stop - 1] = torch.zeros_like(changed[sense.stop - 1])
    return changed


def assert_same(first, second, **tolerance: float) -> None:
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other, **tolerance)


@every_method
@torch.inference_mode()
def test_outputs_are_logits_in_the_order_of_the_tasks_embedding_and_attention(method):
    shapes = [tuple(output.shape) for output in NETWORKS[method](*tokens())]
    assert shapes == [(3, 3), (3, 7), (3, DIM), (3, N_VISUAL), (3, N_AUDIO)]


@every_method
@settings(max_examples=6)
@given(seed=st.integers(0, 10**6), value=st.sampled_from([-1e4, 1e4]))
@torch.inference_mode()
def test_what_masked_tokens_hold_never_matters(method, seed, value):
    inputs = tokens(seed)
    before = NETWORKS[method](*inputs)
    for sense in (PICTURE, SOUND):
        values, times, mask = inputs[sense]
        values[~mask] = value
        times[~mask] = 77.0
    assert_same(before, NETWORKS[method](*inputs))


@every_method
@settings(max_examples=6)
@given(more_visual=st.integers(0, 9), more_audio=st.integers(0, 9))
@torch.inference_mode()
def test_padding_changes_nothing(method, more_visual, more_audio):
    inputs = tokens()
    wider = []
    for position, each in enumerate(inputs):
        more = more_visual if position < 3 else more_audio
        wider.append(
            torch.nn.functional.pad(each, (0, 0, 0, more) if each.dim() == 3 else (0, more))
        )
    before, after = NETWORKS[method](*inputs), NETWORKS[method](*wider)
    assert_same(before[:3], after[:3], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(before[3], after[3][:, :N_VISUAL], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(before[4], after[4][:, :N_AUDIO], rtol=1e-4, atol=1e-5)


@every_method
@pytest.mark.parametrize("sense", [PICTURE, SOUND], ids=["picture", "sound"])
@torch.inference_mode()
def test_a_missing_sense_leaves_no_trace_of_its_tokens(method, sense):
    inputs = without(tokens(), sense)
    others = list(inputs)
    others[sense.start] = others[sense.start] * -3 + 1
    others[sense.start + 1] = others[sense.start + 1] + 5
    assert_same(NETWORKS[method](*inputs), NETWORKS[method](*others))


@joint_methods
@pytest.mark.parametrize(
    ("left_out", "sense", "other"), [("visual", PICTURE, SOUND), ("audio", SOUND, PICTURE)]
)
@torch.inference_mode()
def test_a_sense_left_out_answers_only_where_the_other_is_missing(method, left_out, sense, other):
    network, inputs = NETWORKS[method], tokens()
    leaving_out = LeavingOut(network, left_out)
    assert_same(leaving_out(*inputs), network(*without(inputs, sense)))
    alone = without(inputs, other)
    assert_same(leaving_out(*alone), network(*alone))


@joint_methods
@torch.inference_mode()
def test_no_tokens_at_all_are_as_masked_ones(method):
    """Training gives silent windows without a single sound token."""
    inputs = without(tokens(), SOUND)
    short = [*inputs[PICTURE], *(each[:, :0] for each in inputs[SOUND])]
    before, after = NETWORKS[method](*inputs), NETWORKS[method](*short)
    assert_same(before[:4], after[:4], rtol=1e-4, atol=1e-5)
    assert after[4].shape == (3, 0)


@every_method
@torch.inference_mode()
def test_a_window_with_neither_sense_gives_finite_logits(method):
    outputs = NETWORKS[method](*without(tokens(), PICTURE, SOUND))
    assert all(torch.isfinite(output).all() for output in outputs)
    assert not outputs[3].any() and not outputs[4].any()


@joint_methods
@settings(max_examples=12)
@given(seed=st.integers(0, 10**6), visual=st.integers(0, N_VISUAL), audio=st.integers(0, N_AUDIO))
@torch.inference_mode()
def test_attention_adds_up_to_one_where_anything_is_there(method, seed, visual, audio):
    inputs = tokens(seed, n_rows=1)
    inputs[2] = torch.arange(N_VISUAL)[None] < visual
    inputs[5] = torch.arange(N_AUDIO)[None] < audio
    *_, visual_attention, audio_attention = NETWORKS[method](*inputs)
    total = float(visual_attention.sum() + audio_attention.sum())
    assert total == pytest.approx(1 if visual or audio else 0, abs=1e-5)
    assert not visual_attention[~inputs[2]].any()
    assert not audio_attention[~inputs[5]].any()
    assert (visual_attention >= 0).all() and (audio_attention >= 0).all()


@joint_methods
@pytest.mark.parametrize("sense", [PICTURE, SOUND], ids=["picture", "sound"])
@torch.inference_mode()
def test_each_sense_has_an_influence(method, sense):
    inputs = tokens()
    before = NETWORKS[method](*inputs)
    inputs[sense.start] = inputs[sense.start].flip(2)
    for one, other in zip(before[:3], NETWORKS[method](*inputs)[:3], strict=True):
        assert not torch.allclose(one, other, atol=1e-3)


@pytest.mark.parametrize(
    ("method", "used", "ignored"), [("visual", PICTURE, SOUND), ("audio", SOUND, PICTURE)]
)
@torch.inference_mode()
def test_a_single_sense_ignores_the_other_even_where_it_is_there(method, used, ignored):
    inputs = tokens()
    outputs = NETWORKS[method](*inputs)
    assert_same(outputs, NETWORKS[method](*without(inputs, ignored)))
    attention = outputs[3:] if used == PICTURE else outputs[:2:-1]
    torch.testing.assert_close(attention[0].sum(dim=1), torch.ones(3))
    assert not attention[1].any()


@every_method
@torch.inference_mode()
def test_tokens_may_come_in_any_order_with_their_times(method):
    inputs = tokens()
    order_v, order_a = torch.randperm(N_VISUAL), torch.randperm(N_AUDIO)
    shuffled = [each[:, order_v] for each in inputs[:3]] + [each[:, order_a] for each in inputs[3:]]
    before, after = NETWORKS[method](*inputs), NETWORKS[method](*shuffled)
    assert_same(before[:3], after[:3], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(before[3][:, order_v], after[3])
    torch.testing.assert_close(before[4][:, order_a], after[4])


@pytest.mark.parametrize("method", ["bottleneck", "cross_attention", "recurrent"])
@torch.inference_mode()
def test_times_matter(method):
    inputs = tokens()
    before = NETWORKS[method](*inputs)[0]
    inputs[1] = inputs[1] * 0.5
    assert not torch.allclose(before, NETWORKS[method](*inputs)[0])


@every_method
def test_every_parameter_learns(method):
    network = make_network(method)
    *logits, _, _, _ = network(*tokens())
    sum(each.square().sum() for each in logits).backward()
    still = [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().max() > 0
    ]
    # The bias of an attention score is the same for all tokens, so a softmax forgets it.
    assert not [name for name in still if not name.endswith("attention.bias")]


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(method, marks=() if method in QUICKLY_EXPORTED else pytest.mark.slow)
        for method in METHODS
    ],
)
def test_exported_network_gives_the_same_numbers(method, tmp_path, monkeypatch):
    from sightsound.models.engines.openvino_engine import OpenVinoEngine

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    inputs = tokens(n_rows=3)
    names = [f"{s}{part}" for s in ("visual", "audio") for part in ("", "_times", "_mask")]
    outputs = NETWORKS[method](*inputs)
    spec = NetworkSpec(
        name=f"small-{method}",
        inputs=tuple(
            TensorSpec(name=name, shape=tuple(each.shape[1:]), dtype=str(each.dtype)[6:])
            for name, each in zip(names, inputs, strict=True)
        ),
        outputs=tuple(
            TensorSpec(name=str(number), shape=tuple(each.shape[1:]))
            for number, each in enumerate(outputs)
        ),
        build=lambda: NETWORKS[method],
        weights_sha256="",
        reduced_precision=False,
    )
    options = EngineOptions(engine="openvino", device="cpu", precision="float32")
    exported = OpenVinoEngine(options).load(spec)
    # Masks other than the one it was traced with; then windows without a sense, and with none.
    for shown in (
        inputs,
        tokens(5),
        without(tokens(6), SOUND),
        without(tokens(7), PICTURE),
        without(tokens(8), PICTURE, SOUND),
    ):
        with torch.inference_mode():
            expected = NETWORKS[method](*shown)
        for found, tensor in zip(
            exported(*(each.numpy() for each in shown)), expected, strict=True
        ):
            np.testing.assert_allclose(found, tensor.numpy(), atol=1e-3, rtol=1e-3)


@torch.inference_mode()
def test_recurrent_fusion_reads_both_streams_in_order_of_time():
    """One pass over the merged tokens, each direction, as a loop would make it."""
    network = NETWORKS["recurrent"]
    inputs = tokens(n_rows=1)
    inputs[2] = torch.ones_like(inputs[2])
    inputs[5] = torch.ones_like(inputs[5])
    inputs[1][0, 0] = inputs[4][0, 0]
    merged = torch.cat(
        (
            network.visual_in(inputs[0]) + network.time(inputs[1]),
            network.audio_in(inputs[3]) + network.time(inputs[4]),
        ),
        dim=1,
    )
    order = torch.cat((inputs[1], inputs[4]), dim=1)[0].argsort(stable=True)
    forwards = network.forwards(merged[:, order])[0]
    times = torch.cat((inputs[1], inputs[4]), dim=1)[0]
    assert all(times[a] <= times[b] for a, b in pairwise(order))
    reverse = (-times).argsort(stable=True)
    backwards = network.backwards(merged[:, reverse])[0]
    states = torch.cat((forwards[:, order.argsort()], backwards[:, reverse.argsort()]), dim=2)
    expected, _ = network.pool(states, torch.ones((1, len(order)), dtype=torch.bool))
    torch.testing.assert_close(network(*inputs)[2], expected)


def test_gate_is_open_to_the_only_sense():
    """Without sound h = tanh(W_v x_v), whatever the gate would say."""
    network = NETWORKS["gated"]
    inputs = without(tokens(), SOUND)
    with torch.inference_mode():
        seen, _ = network.visual_pool(inputs[0], inputs[2])
        torch.testing.assert_close(network(*inputs)[2], torch.tanh(network.visual_state(seen)))


@torch.inference_mode()
def test_late_fusion_of_one_sense_is_that_sense_alone():
    network = NETWORKS["late"]
    inputs = without(tokens(), PICTURE)
    alone, _, _ = network.audio(inputs[3], inputs[5])
    assert_same(network(*inputs)[:2], alone)


def test_unknown_method_is_refused_with_those_allowed():
    with pytest.raises(FusionError, match=r"'average'.*bottleneck, late, concatenation, gated"):
        build_fusion("average", visual_dim=2, audio_dim=2, tasks=TASKS)


def test_unknown_size_is_refused_with_those_allowed():
    with pytest.raises(FusionError, match=r"width is no size.*n_heads"):
        build_fusion("late", visual_dim=2, audio_dim=2, tasks=TASKS, width=3)


def test_width_that_the_heads_cannot_share_is_refused():
    with pytest.raises(FusionError, match="width 30 cannot be shared by 4 heads"):
        build_fusion("bottleneck", visual_dim=2, audio_dim=2, tasks=TASKS, dim=30, n_heads=4)
    build_fusion("gated", visual_dim=2, audio_dim=2, tasks=TASKS, dim=30, n_heads=4)


@pytest.mark.parametrize("task", ["", "a.b", "keys", "forward"])
def test_task_name_that_torch_cannot_hold_is_refused(task):
    with pytest.raises(FusionError, match="cannot be called"):
        build_fusion("late", visual_dim=2, audio_dim=2, tasks={task: 2})


def test_names_of_the_methods_are_had_without_torch():
    program = "import sys, sightsound.models.fusion; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
