"""YAMNet's network in torch, and its weights out of an ONNX file."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import nn

# (output channels, stride) of the separable blocks after the stem: MobileNet v1's table.
_BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
)


class _Convolution(nn.Sequential):
    """3x3 or 1x1 convolution and ReLU, padded as TensorFlow's SAME does: at stride 2 only
    after the last row and column, since the sizes are even there."""

    def __init__(
        self, inputs: int, outputs: int, *, kernel: int, stride: int, groups: int = 1
    ) -> None:
        before, after = (0, 1) if stride == 2 else (kernel // 2, kernel // 2)
        super().__init__(
            nn.ZeroPad2d((before, after, before, after)),
            nn.Conv2d(inputs, outputs, kernel, stride=stride, groups=groups),
            nn.ReLU(),
        )


class Yamnet(nn.Module):
    """forward: float32 log-mel (batch, 96, 64) to embedding (batch, 1024) and logits
    (batch, 521), the logits before the sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_Convolution(1, 32, kernel=3, stride=2)]
        channels = 32
        for outputs, stride in _BLOCKS:
            layers.append(
                _Convolution(channels, channels, kernel=3, stride=stride, groups=channels)
            )
            layers.append(_Convolution(channels, outputs, kernel=1, stride=1))
            channels = outputs
        self.layers = nn.Sequential(*layers)
        self.classifier = nn.Linear(1024, 521)

    def forward(self, log_mel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return embedding and logits; see the class."""
        embedding = self.layers(log_mel[:, None]).mean(dim=(2, 3))
        return embedding, self.classifier(embedding)


def load_yamnet(archive: Path) -> Yamnet:
    """YAMNet with the float weights of a quantised ONNX file in a zip archive.

    The file holds float weights followed by pairs of QuantizeLinear and DequantizeLinear;
    the float values before quantisation are taken, in the order of the convolutions.
    """
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(archive) as file:
            file.extractall(folder)
        graph = onnx.load(str(next(Path(folder).rglob("*.onnx")))).graph
    tensors = {
        item.name: torch.from_numpy(numpy_helper.to_array(item).copy())
        for item in graph.initializer
    }
    network = Yamnet()
    convolutions = [layer[1] for layer in network.layers if isinstance(layer, _Convolution)]
    nodes = [node for node in graph.node if node.op_type == "Conv"]
    with torch.no_grad():
        for layer, node in zip(convolutions, nodes, strict=True):
            assert isinstance(layer, nn.Conv2d) and layer.bias is not None
            layer.weight.copy_(tensors[node.input[1].removesuffix("_qdq")])
            layer.bias.copy_(tensors[node.input[2]])
        network.classifier.weight.copy_(tensors["model.classifier.weight"])
        network.classifier.bias.copy_(tensors["model.classifier.bias"])
    return network.eval()
