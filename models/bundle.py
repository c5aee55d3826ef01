"""Bundles: a folder with ``bundle.json`` and, where something was trained, ``model.safetensors``.

A bundle says which backbones look and listen, at what rate, what the tasks and their labels
are, how scores are made (a trained fusion, or late fusion of the backbones' own scores), what
it was trained on and how good it was found to be. Nothing in it is code or pickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from sightsound.models.backbones import audio_backbone, visual_backbone
from sightsound.models.backbones.base import AudioBackbone, VisualBackbone
from sightsound.models.errors import BundleError, FusionError, UnknownBackboneError
from sightsound.models.fusion import build_fusion, check_method
from sightsound.models.networks import NetworkSpec, TensorSpec, file_sha256

if TYPE_CHECKING:
    from torch import nn

FORMAT = 1
MANIFEST_FILE = "bundle.json"
WEIGHTS_FILE = "model.safetensors"
BUILT_IN = ("default", "full")
FUSION = "fusion"

TaskKind = Literal["single", "multi"]
Sense = Literal["visual", "audio"]
# What a person is told of a sense.
SENSE_WORDS: dict[Sense, str] = {"visual": "picture", "audio": "sound"}


@dataclass(frozen=True, kw_only=True)
class Task:
    """One question that a bundle answers of every window.

    ``kind`` "single" gives probabilities that add up to 1 over the labels, "multi" gives each
    label its own. ``sources`` maps what is averaged to its weight: ``fusion`` alone, or
    backbones with a head over just these labels (late fusion).

    ``requires`` names the senses without which the fusion does not answer the task in a window.
    A segment of a single-label task whose score is below ``threshold`` is called "unknown".
    """

    name: str
    kind: TaskKind
    labels: tuple[str, ...]
    sources: Mapping[str, float]
    temperature: float = 1.0
    requires: tuple[Sense, ...] = ()
    threshold: float = 0.0

    @property
    def by_fusion(self) -> bool:
        """Whether the trained fusion scores this task."""
        return FUSION in self.sources


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A loaded bundle. ``model_id`` changes with any weight, label or setting in it.

    It may lack visual or audio backbones; a fusion then has one masked token of one number in
    place of that sense. ``fusion`` is its method and its sizes. ``left_out`` is a sense that the
    fusion leaves out where the other is there.
    """

    name: str
    path: Path
    visual: tuple[VisualBackbone, ...]
    audio: tuple[AudioBackbone, ...]
    fps: Fraction
    tasks: tuple[Task, ...]
    fusion: Mapping[str, Any] | None
    left_out: Sense | None = None
    card: Mapping[str, Any] = field(default_factory=dict)
    model_id: str = ""

    @property
    def visual_dim(self) -> int:
        """Size of the visual tokens that the fusion takes, in which every backbone has columns of
        its own; 1 where nothing looks."""
        return sum(backbone.embedding_dim for backbone in self.visual) or 1

    @property
    def audio_dim(self) -> int:
        """Size of the sound tokens that the fusion takes; 1 where nothing listens."""
        return self.audio[0].embedding_dim if self.audio else 1

    def fusion_network(self, *, n_visual: int, n_audio: int) -> NetworkSpec:
        """The trained fusion for windows of at most so many tokens of each kind."""
        if self.fusion is None:
            raise BundleError(f"The bundle {self.name} has no trained fusion.")
        weights = self.path / WEIGHTS_FILE
        visual_dim, audio_dim = self.visual_dim, self.audio_dim
        outputs = [
            TensorSpec(name=task.name, shape=(len(task.labels),))
            for task in self.tasks
            if task.by_fusion
        ]
        # Exported networks are kept by name and weights, which leaving out a sense does not change.
        without = f"-without-{self.left_out}" if self.left_out is not None else ""
        return NetworkSpec(
            name=f"{self.name}-fusion{without}",
            inputs=(
                TensorSpec(name="visual", shape=(n_visual, visual_dim)),
                TensorSpec(name="visual_times", shape=(n_visual,)),
                TensorSpec(name="visual_mask", shape=(n_visual,), dtype="bool"),
                TensorSpec(name="audio", shape=(n_audio, audio_dim)),
                TensorSpec(name="audio_times", shape=(n_audio,)),
                TensorSpec(name="audio_mask", shape=(n_audio,), dtype="bool"),
            ),
            outputs=(
                *outputs,
                TensorSpec(name="embedding", shape=(self.fusion["dim"],)),
                TensorSpec(name="visual_attention", shape=(n_visual,)),
                TensorSpec(name="audio_attention", shape=(n_audio,)),
            ),
            build=self._build_fusion,
            weights_sha256=file_sha256(weights),
            reduced_precision=False,
        )

    def _build_fusion(self) -> nn.Module:
        from safetensors.torch import load_file

        from sightsound.models.fusion.leaving_out import LeavingOut

        assert self.fusion is not None
        module = build_fusion(
            visual_dim=self.visual_dim,
            audio_dim=self.audio_dim,
            tasks={task.name: len(task.labels) for task in self.tasks if task.by_fusion},
            **self.fusion,
        )
        tensors = load_file(str(self.path / WEIGHTS_FILE))
        module.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        if self.left_out is not None:
            module = LeavingOut(module, self.left_out)
        return module.eval()


def bundle_path(name_or_path: str) -> Path:
    """The folder of a built-in bundle by name, or of one's own by path.

    Raises:
        BundleError: there is no such bundle; the message lists the built-in ones.
    """
    if name_or_path in BUILT_IN:
        return Path(__file__).parent / "bundles" / name_or_path
    path = Path(name_or_path)
    if (path / MANIFEST_FILE).is_file():
        return path
    raise BundleError(
        f"{name_or_path} is neither a built-in bundle ({', '.join(BUILT_IN)}) nor a folder with "
        f"{MANIFEST_FILE} in it."
    )


def load_bundle(name_or_path: str) -> Bundle:
    """Read a bundle's manifest and check it; weights are read when an engine loads them.

    Raises:
        BundleError: it is not there, or this version cannot read it.
        WeightsNotFoundError: labels that lie beside a backbone's weights were not found.
    """
    path = bundle_path(name_or_path)
    try:
        manifest = json.loads((path / MANIFEST_FILE).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise BundleError(f"{path / MANIFEST_FILE} cannot be read: {error}.") from error
    if manifest.get("format") != FORMAT:
        raise BundleError(
            f"{path} is of bundle format {manifest.get('format')!r}; this version reads {FORMAT}: "
            "train it again or use the version that made it."
        )
    try:
        return _parse(path, manifest)
    except (FusionError, UnknownBackboneError) as error:
        raise BundleError(f"{path / MANIFEST_FILE}: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{path / MANIFEST_FILE} is incomplete or wrong: {error!r}.") from error


def _parse(path: Path, manifest: dict[str, Any]) -> Bundle:
    visual = tuple(visual_backbone(name, folder=path) for name in manifest["visual_backbones"])
    audio = tuple(audio_backbone(name) for name in manifest["audio_backbones"])
    fusion = manifest.get("fusion")
    if fusion is not None:
        check_method(fusion["method"])
        for sense, backbones in (("visual", visual), ("audio", audio)):
            if fusion["method"] == sense and not backbones:
                raise BundleError(f"{path}: the fusion is {sense}, but no backbone is.")
    if len({backbone.log_mel.sample_rate_hz for backbone in audio}) > 1:
        raise BundleError(f"{path}: audio backbones of one bundle must share a sample rate.")
    by_name = {backbone.name: backbone for backbone in (*visual, *audio)}
    if len(by_name) < len(visual) + len(audio):
        raise BundleError(f"{path}: two backbones of one bundle must not share a name.")
    tasks = []
    for name, entry in manifest["tasks"].items():
        sources = entry["sources"]
        labels = entry.get("labels")
        if labels is None:
            backbone = by_name[next(iter(sources))]
            if backbone.labels is None:
                raise BundleError(f"{path}: {backbone.name} has no labels for the task {name}.")
            labels = backbone.labels()
        tasks.append(_task(name, entry, tuple(labels), fusion, path))
    if any(task.by_fusion for task in tasks) and fusion is None:
        raise BundleError(f"{path}: a task is scored by fusion, but the bundle has none.")
    if fusion is not None and not (path / WEIGHTS_FILE).is_file():
        raise BundleError(f"{path} has no {WEIGHTS_FILE}: the copy is incomplete.")
    return Bundle(
        name=manifest["name"],
        path=path,
        visual=visual,
        audio=audio,
        fps=Fraction(str(manifest["fps"])),
        tasks=tuple(tasks),
        fusion=fusion,
        left_out=_left_out(path, manifest),
        card=manifest.get("card", {}),
        model_id=_model_id(path, (*visual, *audio)),
    )


def _left_out(path: Path, manifest: Mapping[str, Any]) -> Sense | None:
    left_out: Sense | None = manifest.get("left_out")
    if left_out not in (None, *get_args(Sense)):
        raise BundleError(f"{path}: left_out must be visual, audio or null.")
    return left_out


def _task(
    name: str,
    entry: Mapping[str, Any],
    labels: tuple[str, ...],
    fusion: Mapping[str, Any] | None,
    path: Path,
) -> Task:
    if entry["kind"] not in get_args(TaskKind):
        raise BundleError(f"{path}: the kind of the task {name} must be single or multi.")
    requires = list(entry.get("requires", ()))
    if not set(requires) <= set(get_args(Sense)):
        raise BundleError(f"{path}: the task {name} can require visual and audio only.")
    # A fusion that uses one sense has nothing to say of a window without it.
    if fusion is not None and FUSION in entry["sources"] and fusion["method"] in get_args(Sense):
        requires.append(fusion["method"])
    threshold = float(entry.get("threshold", 0.0))
    if not 0 <= threshold <= 1:
        raise BundleError(f"{path}: the threshold of the task {name} must lie between 0 and 1.")
    return Task(
        name=name,
        kind=entry["kind"],
        labels=labels,
        sources=entry["sources"],
        temperature=entry.get("temperature", 1.0),
        requires=tuple(dict.fromkeys(requires)),
        threshold=threshold,
    )


def _model_id(path: Path, backbones: tuple[VisualBackbone | AudioBackbone, ...]) -> str:
    digest = hashlib.sha256((path / MANIFEST_FILE).read_bytes())
    if (path / WEIGHTS_FILE).is_file():
        digest.update(file_sha256(path / WEIGHTS_FILE).encode())
    for backbone in backbones:
        digest.update(backbone.weights.sha256.encode())
    return digest.hexdigest()[:16]


def save_bundle(path: Path, manifest: dict[str, Any], tensors: Mapping[str, Any]) -> None:
    """Write a bundle; ``tensors`` are torch tensors by name, stored as float16."""
    from safetensors.torch import save_file

    path.mkdir(parents=True, exist_ok=True)
    halves = {name: tensor.detach().half().contiguous() for name, tensor in tensors.items()}
    save_file(halves, str(path / WEIGHTS_FILE))
    text = json.dumps({"format": FORMAT, **manifest}, indent=1, ensure_ascii=False)
    (path / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")
