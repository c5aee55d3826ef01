"""The engines: which is chosen, that batches do not matter, that both give the same numbers."""

import os
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightsound.models.backbones.efficientnet import EFFICIENTNET_LITE0
from sightsound.models.backbones.yamnet import YAMNET
from sightsound.models.engines import base
from sightsound.models.engines.base import EngineOptions, choose_engine_name, create_engine
from sightsound.models.errors import EngineError

OPENVINO = EngineOptions(engine="openvino", device="cpu")
TORCH = EngineOptions(engine="torch", device="cpu")
FRAMES = np.random.default_rng(0).integers(0, 255, (11, 1, 224, 224, 3), dtype=np.uint8)
SOUND = np.random.default_rng(1).normal(0, 0.1, (11, 15600)).astype(np.float32)


@pytest.fixture(scope="module")
def openvino_lite0():
    return create_engine(OPENVINO).load(EFFICIENTNET_LITE0.network())


@pytest.fixture(scope="module")
def torch_lite0():
    return create_engine(TORCH).load(EFFICIENTNET_LITE0.network())


def test_auto_without_cuda_is_openvino(monkeypatch):
    monkeypatch.setattr(base, "cuda_present", lambda: False)
    assert choose_engine_name(EngineOptions()) == "openvino"


def test_auto_with_cuda_is_torch(monkeypatch):
    monkeypatch.setattr(base, "cuda_present", lambda: True)
    assert choose_engine_name(EngineOptions()) == "torch"
    assert choose_engine_name(EngineOptions(device="cpu")) == "openvino"


def test_openvino_on_cuda_is_refused_with_the_remedy():
    with pytest.raises(EngineError, match=r"set inference\.engine to torch"):
        choose_engine_name(EngineOptions(engine="openvino", device="cuda"))


def test_unknown_engine_is_refused_with_the_allowed_values():
    with pytest.raises(EngineError, match="auto, openvino, torch"):
        choose_engine_name(EngineOptions(engine="tpu"))  # type: ignore[arg-type]


def test_cuda_that_is_not_there_is_refused_with_the_remedy():
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(EngineError, match=r"set inference\.device to cpu"):
        create_engine(EngineOptions(engine="torch", device="cuda"))


@settings(max_examples=8, deadline=None)
@given(order=st.permutations(range(11)), size=st.integers(1, 11))
def test_openvino_result_of_a_row_does_not_depend_on_its_batch(openvino_lite0, order, size):
    (alone,) = openvino_lite0(FRAMES)
    (mixed,) = openvino_lite0(FRAMES[list(order)[:size]])
    np.testing.assert_array_equal(mixed, alone[list(order)[:size]])


@settings(max_examples=4, deadline=None)
@given(order=st.permutations(range(11)), size=st.integers(1, 11))
def test_torch_result_of_a_row_does_not_depend_on_its_batch(torch_lite0, order, size):
    (alone,) = torch_lite0(FRAMES)
    (mixed,) = torch_lite0(FRAMES[list(order)[:size]])
    np.testing.assert_array_equal(mixed, alone[list(order)[:size]])


def test_no_rows_give_no_rows(openvino_lite0):
    (nothing,) = openvino_lite0(FRAMES[:0])
    assert nothing.shape == (0, 1280)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the affinity of a thread")
def test_openvino_leaves_its_thread_on_every_core(openvino_lite0):
    """Worker processes that each bind theirs to the first core share that one."""
    allowed, seen, ended = os.sched_getaffinity(0), set(), threading.Event()
    inferring = threading.get_native_id()

    def watch():
        while not ended.is_set():
            seen.add(frozenset(os.sched_getaffinity(inferring)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    openvino_lite0(FRAMES)
    ended.set()
    watcher.join()
    assert seen == {frozenset(allowed)}


def test_engines_agree_in_float32():
    exact = {
        name: create_engine(EngineOptions(engine=name, device="cpu", precision="float32")).load(
            EFFICIENTNET_LITE0.network()
        )(FRAMES[:2])[0]
        for name in ("openvino", "torch")
    }
    np.testing.assert_allclose(exact["openvino"], exact["torch"], atol=2e-3, rtol=2e-3)


def test_reduced_precision_keeps_the_direction_of_features(openvino_lite0):
    exact = create_engine(EngineOptions(engine="torch", device="cpu", precision="float32"))
    (reference,) = exact.load(EFFICIENTNET_LITE0.network())(FRAMES)
    (found,) = openvino_lite0(FRAMES)
    norms = np.linalg.norm(reference, axis=1) * np.linalg.norm(found, axis=1)
    assert ((reference * found).sum(axis=1) / norms).min() > 0.99


def test_front_end_is_exact_even_where_networks_are_not():
    """A logarithm magnifies rounding, so log-mel is never computed in bfloat16."""
    (left,) = create_engine(OPENVINO).load(YAMNET.front_end())(SOUND)
    (right,) = create_engine(TORCH).load(YAMNET.front_end())(SOUND)
    np.testing.assert_allclose(left, right, atol=1e-4)


def test_exported_network_is_made_once_and_then_loads_without_torch(tmp_path, monkeypatch):
    import subprocess
    import sys

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    create_engine(OPENVINO).load(YAMNET.front_end())
    script = (
        "import sys\n"
        "from sightsound.models.backbones.yamnet import YAMNET\n"
        "from sightsound.models.engines.base import EngineOptions, create_engine\n"
        "create_engine(EngineOptions(engine='openvino', device='cpu')).load(YAMNET.front_end())\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_damaged_export_is_named_with_the_remedy(tmp_path, monkeypatch):
    from sightsound.models.engines.openvino_engine import exported_path

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    spec = YAMNET.front_end()
    create_engine(OPENVINO).load(spec)
    path = exported_path(spec, batch_size=1)
    path.write_text("<nonsense>")
    with pytest.raises(EngineError, match="delete the folder"):
        create_engine(OPENVINO).load(spec)
