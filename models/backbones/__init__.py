"""The backbones, by name. Importing this package reads no weights and no torch."""

from __future__ import annotations

from sightsound.models.backbones.base import AudioBackbone, VisualBackbone
from sightsound.models.backbones.efficientat import EFFICIENTAT_MN04
from sightsound.models.backbones.efficientnet import EFFICIENTNET_LITE0
from sightsound.models.backbones.places365 import PLACES365
from sightsound.models.backbones.x3d import X3D_XS
from sightsound.models.backbones.yamnet import YAMNET

VISUAL_BACKBONES: dict[str, VisualBackbone] = {
    backbone.name: backbone for backbone in (EFFICIENTNET_LITE0, X3D_XS, PLACES365)
}
AUDIO_BACKBONES: dict[str, AudioBackbone] = {
    backbone.name: backbone for backbone in (YAMNET, EFFICIENTAT_MN04)
}
