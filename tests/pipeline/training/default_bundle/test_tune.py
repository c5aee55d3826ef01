"""Training the looking network further: pictures, views, the split network, and its weights."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sightsound.models.backbones import visual_backbone
from sightsound.models.backbones.efficientnet_network import save_efficientnet
from sightsound.models.errors import WeightsCorruptError, WeightsNotFoundError
from sightsound.pipeline.training.default_bundle.maps import gather_maps
from sightsound.pipeline.training.default_bundle.pictures import SIDE, Pictures, gather_pictures
from sightsound.pipeline.training.default_bundle.samples import match_places
from sightsound.pipeline.training.default_bundle.split_network import Tail, Trunk, new_network
from sightsound.pipeline.training.default_bundle.tune import Targets, look, tune
from sightsound.pipeline.training.default_bundle.views import altered, whole
from sightsound.pipeline.training.default_bundle.work import load_recipe

SETTINGS = load_recipe().tuning.model_copy(
    update={"steps": 40, "batch": 8, "n_views": 2, "head_learning_rate": 0.01, "dropout": 0.0}
)
N_FIXED = SETTINGS.n_fixed_blocks


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Pictures:
    """Twelve stills, red ones and blue ones."""
    folder = tmp_path_factory.mktemp("stills")
    random = np.random.default_rng(0)
    paths = []
    for number in range(12):
        pixels = random.integers(0, 60, (90, 120, 3), dtype=np.uint8)
        pixels[..., 2 * (number % 2)] += 180
        paths.append(folder / f"{number:02}.png")
        Image.fromarray(pixels).save(paths[-1])
    return gather_pictures(paths, folder, fps=Fraction(1), n_processes=1, say=lambda text: None)


@pytest.fixture(scope="module")
def maps(pictures):
    return gather_maps(
        pictures, n_fixed=N_FIXED, n_views=2, seed=0, n_processes=1, say=lambda text: None
    )


def targets() -> Targets:
    """Red is action 0 and scene 2, blue action 1 and scene 0."""
    is_blue = torch.arange(12) % 2
    return Targets(
        action=torch.nn.functional.one_hot(is_blue, 4).float(),
        action_weight=torch.ones(12),
        scene=torch.nn.functional.one_hot(2 - 2 * is_blue, 3).float(),
        scene_weight=torch.ones(12),
    )


def test_stills_are_pictures_at_time_zero_in_the_order_of_the_files(pictures):
    pixels = np.load(pictures.path)
    assert pixels.shape == (12, SIDE, SIDE, 3)
    assert pictures.file.tolist() == list(range(12))
    assert not pictures.time_s.any()
    assert (pixels.mean(axis=(1, 2)).argmax(axis=1) == 2 * (np.arange(12) % 2)).all()


def test_views_are_of_the_networks_size_and_repeatable(pictures):
    pixels = np.array(np.load(pictures.path, mmap_mode="r")[:4])
    assert whole(pixels, size=224).shape == (4, 224, 224, 3)
    one, again, other = (
        altered(pixels, size=224, random=np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert one.shape == (4, 224, 224, 3)
    assert (one == again).all()
    assert (one != other).any()


@pytest.mark.parametrize("n_fixed", [1, N_FIXED, 16])
def test_trunk_and_tail_make_the_whole_network(n_fixed):
    network = new_network()
    frames = torch.randint(0, 256, (2, 1, 224, 224, 3), dtype=torch.uint8)
    tail = Tail(network, n_fixed=n_fixed, n_labels=(3,), dropout=0.5).eval()
    tail.heads[0] = torch.nn.Identity()
    with torch.inference_mode():
        expected = network(frames)[0]
        (said,) = tail(Trunk(network, n_fixed=n_fixed).eval()(frames[:, 0]))
    torch.testing.assert_close(said, expected, atol=1e-4, rtol=1e-4)


def test_training_learns_and_keeps_what_is_fixed(maps):
    network, tail = tune(
        maps, np.arange(12), targets(), settings=SETTINGS, seed=0, say=lambda text: None
    )
    action, scene = look(tail, maps, np.arange(12))
    assert (action.argmax(dim=1) == torch.arange(12) % 2).all()
    assert (scene.argmax(dim=1) == 2 - 2 * (torch.arange(12) % 2)).all()
    before, after = new_network().network, network.network
    blocks = [block for stage in before.blocks for block in stage]
    trained = [block for stage in after.blocks for block in stage]
    for number, (old, new) in enumerate(zip(blocks, trained, strict=True)):
        old_weights, new_weights = dict(old.named_parameters()), dict(new.named_parameters())
        is_same = all(torch.equal(old_weights[name], new_weights[name]) for name in old_weights)
        assert is_same == (number < N_FIXED), number
    statistics = dict(before.named_buffers())
    assert all(torch.equal(statistics[name], kept) for name, kept in after.named_buffers())


def test_weights_that_are_kept_are_those_that_a_backbone_loads(tmp_path):
    network = new_network()
    with torch.no_grad():
        network.network.conv_head.weight *= 1.5
    save_efficientnet(network, tmp_path / "own.safetensors")
    backbone = visual_backbone("efficientnet_lite0:own.safetensors", folder=tmp_path)
    assert backbone.weights.sha256 != visual_backbone("efficientnet_lite0").weights.sha256
    frames = torch.randint(0, 256, (1, 1, 224, 224, 3), dtype=torch.uint8)
    with torch.inference_mode():
        expected, loaded = network(frames)[0], backbone.build()(frames)[0]
    assert torch.nn.functional.cosine_similarity(expected, loaded).item() > 0.9999


def test_weights_of_another_network_are_refused(tmp_path):
    save_efficientnet(new_network(), tmp_path / "own.safetensors")
    backbone = visual_backbone(f"efficientnet_lite2:{tmp_path / 'own.safetensors'}")
    with pytest.raises(WeightsCorruptError, match=r"own\.safetensors does not hold"):
        backbone.build()


def test_weights_that_are_not_there_are_named_with_the_remedy():
    backbone = visual_backbone("efficientnet_lite0:gone.safetensors", folder=Path("/nowhere"))
    with pytest.raises(WeightsNotFoundError, match=r"/nowhere/gone\.safetensors.*copy it again"):
        backbone.build()


def test_places_are_matched_whatever_joins_their_words():
    places = ("alley", "church/outdoor", "temple/asia")
    scenes = ("church_outdoor", "abbey", "temple_east_asia", "alley")
    assert match_places(scenes, places) == (1, -1, 2, 0)
