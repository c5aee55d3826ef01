"""The backbones, by name. Importing this package reads no weights and no torch.

Besides those listed here, ``timm:NAME`` and ``torchvision:NAME`` are the libraries' own.
"""

from __future__ import annotations

from sightsound.models.backbones.base import AudioBackbone, VisualBackbone
from sightsound.models.backbones.efficientat import EFFICIENTAT_MN04
from sightsound.models.backbones.efficientnet import (
    EFFICIENTNET_LITE0,
    EFFICIENTNET_LITE1,
    EFFICIENTNET_LITE2,
)
from sightsound.models.backbones.library import LIBRARIES, library_backbone
from sightsound.models.backbones.places365 import PLACES365
from sightsound.models.backbones.x3d import X3D_XS
from sightsound.models.backbones.yamnet import YAMNET
from sightsound.models.errors import UnknownBackboneError

VISUAL_BACKBONES: dict[str, VisualBackbone] = {
    backbone.name: backbone
    for backbone in (
        EFFICIENTNET_LITE0,
        EFFICIENTNET_LITE1,
        EFFICIENTNET_LITE2,
        X3D_XS,
        PLACES365,
    )
}
AUDIO_BACKBONES: dict[str, AudioBackbone] = {
    backbone.name: backbone for backbone in (YAMNET, EFFICIENTAT_MN04)
}


def visual_backbone(name: str) -> VisualBackbone:
    """A visual backbone by its name, ``timm:NAME`` or ``torchvision:NAME``.

    Raises:
        UnknownBackboneError: there is none; the message lists what is known.
    """
    if name in VISUAL_BACKBONES:
        return VISUAL_BACKBONES[name]
    library, colon, network = name.partition(":")
    if colon and library in LIBRARIES:
        return library_backbone(library, network)
    raise UnknownBackboneError(
        f"{name!r} is no visual backbone; known are {', '.join(VISUAL_BACKBONES)}, and "
        f"{' and '.join(f'{library}:NAME' for library in LIBRARIES)} for that library's networks."
    )


def audio_backbone(name: str) -> AudioBackbone:
    """An audio backbone by its name.

    Raises:
        UnknownBackboneError: there is none; the message lists what is known.
    """
    if name not in AUDIO_BACKBONES:
        raise UnknownBackboneError(
            f"{name!r} is no audio backbone; known are {', '.join(AUDIO_BACKBONES)}."
        )
    return AUDIO_BACKBONES[name]
