"""The networks of timm and torchvision in torch: what is published of them, and loading them."""

from __future__ import annotations

import dataclasses
import difflib
import math
import pickle
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sightsound.models.backbones.base import FrameView
from sightsound.models.backbones.library import UNKNOWN_STATUS, Description
from sightsound.models.errors import UnknownBackboneError, WeightsCorruptError
from sightsound.models.weights import LibraryWeights

# Pictures a second and pictures of a clip with which torchvision's video networks are published.
# S3D is published with 128, longer than a window; it was trained with 64 (Xie et al. 2018,
# arXiv:1712.04851).
_CLIPS = {
    "r3d_18": (15.0, 16),
    "mc3_18": (15.0, 16),
    "r2plus1d_18": (15.0, 16),
    "s3d": (15.0, 64),
    "mvit_v1_b": (7.5, 16),
    "mvit_v2_s": (7.5, 16),
    "swin3d_t": (15.0, 32),
    "swin3d_s": (15.0, 32),
    "swin3d_b": (15.0, 32),
}
# Keys of torchvision's older DenseNet files, in which "norm.1" stands for "norm1".
_OLD_DENSE_KEY = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")


class LibraryNetwork(nn.Module):
    """forward: uint8 RGB (batch, clip_frames, height, width, 3) to the embedding (batch, dim)
    and, where there is a head, logits (batch, n_labels)."""

    def __init__(
        self, network: nn.Module, *, description: Description, head: nn.Module | None
    ) -> None:
        super().__init__()
        self.network = network
        self.head = head
        self.mean: torch.Tensor
        self.deviation: torch.Tensor
        self.register_buffer("mean", torch.tensor(description.mean), persistent=False)
        self.register_buffer("deviation", torch.tensor(description.deviation), persistent=False)
        self._is_clip = description.clip_frames > 1
        self._width, self._height = description.crop_width, description.crop_height
        # Rounded as torchvision's centre crop rounds it.
        self._left = round((description.view.width - self._width) / 2)
        self._top = round((description.view.height - self._height) / 2)

    def preprocess(self, frames: torch.Tensor) -> torch.Tensor:
        """Uint8 RGB frames to normalised float32 (batch, 3, [time,] height, width)."""
        rows = slice(self._top, self._top + self._height)
        columns = slice(self._left, self._left + self._width)
        pixels = frames[:, :, rows, columns].to(torch.float32) / 255.0
        pixels = ((pixels - self.mean) / self.deviation).permute(0, 4, 1, 2, 3)
        return pixels if self._is_clip else pixels[:, :, 0]

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the embedding and logits; see the class."""
        embedding = self.network(self.preprocess(frames))
        return (embedding,) if self.head is None else (embedding, self.head(embedding))


def load_library_network(description: Description, path: Path) -> LibraryNetwork:
    """The network with the weights of a file.

    Raises:
        WeightsCorruptError: the file does not hold this network, or holds more than tensors.
    """
    load = _load_timm if description.library == "timm" else _load_torchvision
    try:
        network, head = load(description.name, path)
    except (RuntimeError, KeyError, ValueError, pickle.UnpicklingError) as error:
        reason = (str(error).strip().splitlines() or ["no message"])[0][:160]
        raise WeightsCorruptError(
            f"{path} does not hold the tensors of {description.name} ({reason}): replace it by "
            "the published file."
        ) from error
    return LibraryNetwork(
        network.eval(), description=description, head=head if description.labels else None
    ).eval()


def _load_timm(name: str, path: Path) -> tuple[nn.Module, None]:
    import timm

    if path.suffix != ".safetensors":
        raise ValueError("only safetensors are read")
    overlay = {"file": str(path), "custom_load": False}
    return (
        timm.create_model(name, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay),
        None,
    )


def _load_torchvision(name: str, path: Path) -> tuple[nn.Module, nn.Module]:
    stored = torch.load(path, map_location="cpu", weights_only=True)
    network = build_torchvision(name)
    network.load_state_dict({_OLD_DENSE_KEY.sub(r"\1\2", key): stored[key] for key in stored})
    return split_head(network)


def build_torchvision(name: str) -> nn.Module:
    """A torchvision network with random weights, made as its published weights need it."""
    import torchvision

    weights = torchvision.models.get_model_weights(name).DEFAULT
    options: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        options = {"transform_input": True, "aux_logits": True, "init_weights": False}
    elif name.startswith("vit_"):
        options = {"image_size": weights.meta["min_size"][0]}
    network: nn.Module = torchvision.models.get_model(name, weights=None, **options)
    return network.eval()


def split_head(network: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Cut the last layer off: the network to its embedding, and the layer as a linear one.

    The last layer of a convolutional head (S3D, SqueezeNet) is pooled after it; of a 1 x 1
    convolution before a mean the order does not matter.
    """
    layers = [
        (name, layer)
        for name, layer in network.named_modules()
        if isinstance(layer, (nn.Linear, nn.Conv2d, nn.Conv3d))
    ]
    name, last = layers[-1]
    network.set_submodule(name, nn.Identity())
    if isinstance(last, nn.Linear):
        return network, last
    head = nn.Linear(last.in_channels, last.out_channels)
    with torch.no_grad():
        head.weight.copy_(last.weight.flatten(1))
        if last.bias is not None:
            head.bias.copy_(last.bias)
    return network, head


def describe(library: str, name: str) -> Description:
    """What a library publishes of a network.

    Raises:
        UnknownBackboneError: it has none of that name, or none that can be used.
    """
    return _describe_timm(name) if library == "timm" else _describe_torchvision(name)


def _describe_timm(name: str) -> Description:
    import timm
    from timm.data.config import resolve_data_config
    from timm.models import get_pretrained_cfg, is_model

    if not is_model(name):
        raise _unknown("timm", name, timm.list_models())
    try:
        published = get_pretrained_cfg(name)
    except RuntimeError:
        tagged = timm.list_pretrained(f"{name.partition('.')[0]}.*")
        raise _unknown("timm", name, tagged) from None
    if published is None or not published.hf_hub_id:
        raise UnknownBackboneError(f"timm publishes no weights for {name} on the Hugging Face hub.")
    full_name = f"{published.architecture}.{published.tag}" if published.tag else name
    data = resolve_data_config(pretrained_cfg=dataclasses.asdict(published))  # type: ignore[no-untyped-call]
    channels, height, width = data["input_size"]
    if channels != 3:
        raise UnknownBackboneError(f"timm:{name} does not look at pictures of three colours.")
    is_cover = data["crop_mode"] == "center"
    network = timm.create_model(name, pretrained=False, num_classes=0).eval()
    with torch.inference_mode():
        embedding = network(torch.zeros(1, channels, height, width))
    if embedding.dim() != 2:
        raise UnknownBackboneError(f"timm:{name} gives no single embedding a picture.")
    return Description(
        library="timm",
        name=full_name,
        embedding_dim=embedding.shape[1],
        labels=(),
        licence=published.license or "none stated",
        weights=LibraryWeights(
            file=f"{full_name}.safetensors",
            library="timm",
            source=published.hf_hub_id,
            hub_file=_safe_file(published.hf_hub_filename),
        ),
        view=FrameView(
            width=width,
            height=height,
            fit="cover" if is_cover else "stretch",
            short_side=math.floor(min(height, width) / data["crop_pct"]) if is_cover else None,
        ),
        crop_width=width,
        crop_height=height,
        mean=tuple(data["mean"]),
        deviation=tuple(data["std"]),
    )


def _safe_file(file: str | None) -> str:
    """The safetensors file that stands beside another in a repository on the hub."""
    return "model.safetensors" if file is None else f"{file.rpartition('.')[0]}.safetensors"


def _describe_torchvision(name: str) -> Description:
    import torchvision

    models = torchvision.models
    known = [*models.list_models(module=models), *models.list_models(module=models.video)]
    if name not in known:
        raise _unknown("torchvision", name, known)
    weights = models.get_model_weights(name).DEFAULT
    published = weights.transforms()
    crop_height, crop_width = (published.crop_size * 2)[:2]
    resize = published.resize_size
    if len(resize) == 2:
        view = FrameView(width=resize[1], height=resize[0], fit="stretch")
    else:
        view = FrameView(width=crop_width, height=crop_height, fit="cover", short_side=resize[0])
    network, head = split_head(build_torchvision(name))
    # Of a SqueezeNet a rectifier follows on the last layer, before the mean.
    has_logits = not isinstance(network, models.SqueezeNet)
    rate, clip_frames = _CLIPS.get(name, (None, 1))
    return Description(
        library="torchvision",
        name=name,
        embedding_dim=int(head.in_features),  # type: ignore[arg-type]
        labels=tuple(weights.meta["categories"]) if has_logits else (),
        licence=_licence(weights.meta),
        weights=LibraryWeights(
            file=weights.url.rpartition("/")[2], library="torchvision", source=weights.url
        ),
        view=view,
        crop_width=crop_width,
        crop_height=crop_height,
        mean=tuple(published.mean),
        deviation=tuple(published.std),
        clip_frames=clip_frames,
        frame_interval_s=None if rate is None else 1 / rate,
    )


def _licence(meta: dict[str, Any]) -> str:
    """Some weights state their own; torchvision itself is under BSD-3-Clause."""
    return str(meta.get("license", "BSD-3-Clause (torchvision)"))


def _unknown(library: str, name: str, known: Sequence[str]) -> UnknownBackboneError:
    near = ", ".join(difflib.get_close_matches(name, known, n=3)) or ", ".join(known[:3])
    return UnknownBackboneError(f"{library} has no network {name!r}; there are {near} and others.")


def main() -> None:
    """Write the description of the network that two arguments name as JSON (the child's side)."""
    try:
        sys.stdout.write(describe(*sys.argv[1:3]).to_json())
    except UnknownBackboneError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(UNKNOWN_STATUS)
