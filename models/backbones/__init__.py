"""The backbones, by name. Importing this package reads no weights and no torch.

Besides those listed here, ``timm:NAME`` and ``torchvision:NAME`` are the libraries' own, and
``efficientnet_lite0:FILE`` (or lite1, lite2) is that network trained further, with its weights in
a safetensors file.
"""

from __future__ import annotations

from pathlib import Path

from sightsound.models.backbones.base import AudioBackbone, VisualBackbone
from sightsound.models.backbones.efficientat import EFFICIENTAT_MN04
from sightsound.models.backbones.efficientnet import (
    EFFICIENTNET_LITE0,
    EFFICIENTNET_LITE1,
    EFFICIENTNET_LITE2,
    tuned_efficientnet,
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

_TUNABLE = (EFFICIENTNET_LITE0, EFFICIENTNET_LITE1, EFFICIENTNET_LITE2)


def visual_backbone(name: str, *, folder: Path | None = None) -> VisualBackbone:
    """A visual backbone by its name; see the module.

    The file of a network trained further lies in ``folder``, where its name is not absolute.

    Raises:
        UnknownBackboneError: there is none; the message lists what is known.
    """
    if name in VISUAL_BACKBONES:
        return VISUAL_BACKBONES[name]
    first, colon, second = name.partition(":")
    if colon and first in LIBRARIES:
        return library_backbone(first, second)
    for backbone in _TUNABLE:
        if colon and first == backbone.name:
            return tuned_efficientnet(backbone, (folder or Path()) / second)
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
