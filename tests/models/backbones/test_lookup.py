"""Backbones by name."""

import pickle

import pytest

from sightsound.models.backbones import (
    AUDIO_BACKBONES,
    VISUAL_BACKBONES,
    audio_backbone,
    visual_backbone,
)
from sightsound.models.errors import UnknownBackboneError


def test_each_is_found_by_its_name():
    assert all(visual_backbone(name).name == name for name in VISUAL_BACKBONES)
    assert all(audio_backbone(name).name == name for name in AUDIO_BACKBONES)


@pytest.mark.parametrize("name", ["yamnet", "resnet18", "keras:resnet18"])
def test_unknown_visual_backbone_is_refused_with_those_known(name):
    with pytest.raises(UnknownBackboneError, match=r"efficientnet_lite2.*torchvision:NAME"):
        visual_backbone(name)


@pytest.mark.parametrize("name", ["x3d_xs", "timm:resnet18"])
def test_unknown_audio_backbone_is_refused_with_those_known(name):
    with pytest.raises(UnknownBackboneError, match="yamnet, efficientat_mn04"):
        audio_backbone(name)


@pytest.mark.parametrize("name", ["timm:../x", "torchvision:", "timm:hf-hub:a/b", "timm:-c"])
def test_what_is_no_name_of_a_network_is_refused_without_asking_the_library(name):
    with pytest.raises(UnknownBackboneError, match="is not named as"):
        visual_backbone(name)


def test_every_backbone_states_where_it_is_from_and_on_what_terms():
    for backbone in (*VISUAL_BACKBONES.values(), *AUDIO_BACKBONES.values()):
        assert backbone.origin and backbone.licence


def test_specs_can_be_sent_to_another_process():
    for backbone in (*VISUAL_BACKBONES.values(), *AUDIO_BACKBONES.values()):
        sent = pickle.loads(pickle.dumps(backbone))
        assert (sent.name, sent.weights) == (backbone.name, backbone.weights)
