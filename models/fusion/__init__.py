"""The ways of joining what is seen and what is heard, by name. Importing it reads no torch.

Every method is a module with one interface: see ``models.fusion.bottleneck.BottleneckFusion``.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, get_args

from sightsound.models.errors import FusionError

if TYPE_CHECKING:
    from torch import nn

FusionMethod = Literal[
    "bottleneck",
    "late",
    "concatenation",
    "gated",
    "cross_attention",
    "recurrent",
    "visual",
    "audio",
]
METHODS: tuple[str, ...] = get_args(FusionMethod)
SIZES = ("dim", "n_layers", "n_heads", "n_bottlenecks", "hidden", "dropout", "hidden_dropout")


def check_method(method: object) -> None:
    """Raise a FusionError that lists the methods, unless this is one of them."""
    if method not in METHODS:
        raise FusionError(
            f"{method!r} is no method of fusion; the methods are {', '.join(METHODS)}."
        )


def build_fusion(
    method: FusionMethod,
    *,
    visual_dim: int,
    audio_dim: int,
    tasks: Mapping[str, int],
    **sizes: float,
) -> nn.Module:
    """An untrained fusion.

    Args:
        method: how the streams are joined.
        visual_dim: size of a visual token.
        audio_dim: size of a sound token.
        tasks: number of labels by task, in the order in which their logits are to come.
        sizes: any of ``SIZES``; a method takes those that it knows.

    Raises:
        FusionError: the method, a size or the name of a task cannot be used.
    """
    from torch import nn

    check_method(method)
    unknown = sorted(set(sizes) - set(SIZES))
    if unknown:
        raise FusionError(f"{', '.join(unknown)} is no size of a fusion; use {', '.join(SIZES)}.")
    for task in tasks:
        # Its parameters are stored under the name, as attributes of a torch module.
        if not task or "." in task or hasattr(nn.ModuleDict(), task):
            raise FusionError(
                f"A task cannot be called {task!r}: give it a name without a dot that is no "
                "attribute of a torch module."
            )
    made = _method_class(method)
    known = inspect.signature(made).parameters
    dim, n_heads = sizes.get("dim"), sizes.get("n_heads")
    if "n_heads" in known and dim and n_heads and dim % n_heads:
        raise FusionError(
            f"A {method} fusion of width {dim} cannot be shared by {n_heads} heads: make dim a "
            "multiple of n_heads."
        )
    module: nn.Module = made(
        visual_dim=visual_dim,
        audio_dim=audio_dim,
        tasks=tasks,
        **{name: size for name, size in sizes.items() if name in known},
    )
    return module


def _method_class(method: FusionMethod) -> type[nn.Module]:
    from sightsound.models.fusion.bottleneck import BottleneckFusion
    from sightsound.models.fusion.concatenation import ConcatenationFusion
    from sightsound.models.fusion.cross_attention import CrossAttentionFusion
    from sightsound.models.fusion.gated import GatedFusion
    from sightsound.models.fusion.late import LateFusion
    from sightsound.models.fusion.recurrent import RecurrentFusion
    from sightsound.models.fusion.single import AudioOnly, VisualOnly

    classes: dict[FusionMethod, type[nn.Module]] = {
        "bottleneck": BottleneckFusion,
        "late": LateFusion,
        "concatenation": ConcatenationFusion,
        "gated": GatedFusion,
        "cross_attention": CrossAttentionFusion,
        "recurrent": RecurrentFusion,
        "visual": VisualOnly,
        "audio": AudioOnly,
    }
    return classes[method]
