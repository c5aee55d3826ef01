"""The recipe of a training: which networks look and listen, what is fused how, how it is learnt."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from sightsound.models.bundle import Sense
from sightsound.models.fusion import FusionMethod
from sightsound.pipeline.config import WindowConfig
from sightsound.pipeline.settings import Section, SettingsError, explain, read_settings
from sightsound.pipeline.training.augment import PictureAugmentation, Share, SoundAugmentation

Size = Annotated[int, Field(ge=1, le=8192)]
Rate = Annotated[float, Field(ge=0, lt=1)]

_DEFAULT_FPS = Fraction(2)
# Large enough for 24000/1001 and its like.
_LARGEST_DENOMINATOR = 1001


class RecipeError(SettingsError):
    """The recipe is wrong; the message names the key and what it allows."""


class FusionRecipe(Section):
    """The trained part. A method takes those of the sizes that it knows."""

    # On the few samples that people label it is as good as the best (benchmarks/RESULTS.md),
    # and the quickest to train.
    method: FusionMethod = "late"
    dim: Size = Field(128, description="width of tokens inside")
    n_layers: Size = 2
    n_heads: Size = 4
    n_bottlenecks: Size = 4
    hidden: Size = Field(256, description="width of the head past the transformer")
    dropout: Rate = 0.2
    hidden_dropout: Rate = 0.5

    def sizes(self) -> dict[str, Any]:
        """What ``build_fusion`` takes beside the method."""
        return self.model_dump(exclude={"method"})


class AugmentationRecipe(Section):
    """What makes few samples more. Chances are drawn anew for each window and step."""

    n_variants: Annotated[int, Field(ge=1, le=64)] = Field(
        4, description="of each file, the first being the file as it is; cached"
    )
    picture: PictureAugmentation = PictureAugmentation(
        rotation_degrees=5.0, contrast=0.25, brightness=20.0, gamma=0.2
    )
    sound: SoundAugmentation = SoundAugmentation()
    plain_share: Share = Field(0.4, description="chance of the file as it is")
    drop_audio: Share = Field(0.3, description="chance that sound is left out, where both are")
    drop_visual: Share = Field(0.2, description="chance that pictures are left out, likewise")
    most_tokens: Annotated[int, Field(ge=1)] = Field(
        8, description="of each sense shown of a window; others are drawn in each step"
    )
    drop_tokens: Share = Field(
        0.3, description="chance that some of a window's tokens are left out"
    )
    mixup: Share = Field(0.2, description="chance that a window is mixed with another")
    feature_noise: Annotated[float, Field(ge=0, le=2)] = Field(
        0.3, description="most noise on embeddings, in their own standard deviations"
    )

    @model_validator(mode="after")
    def _one_sense_stays(self) -> AugmentationRecipe:
        if self.drop_audio + self.drop_visual > 1:
            raise ValueError("drop_audio and drop_visual must not add up to more than 1")
        return self


class OptimiserRecipe(Section):
    """How weights move."""

    name: Literal["adamw", "adam", "rmsprop", "sgd"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 0.001
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.05
    momentum: Rate = Field(0.9, description="of sgd and rmsprop")
    schedule: Literal["one_cycle", "cosine", "constant"] = "one_cycle"
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    average_decay: Rate = Field(0.99, description="of the running average of weights, kept")


class TrainingRecipe(Section):
    """How long, in what portions, and what counts how much."""

    epochs: Annotated[float, Field(gt=0)] = Field(
        30.0, description="how often all windows are seen, if it does not stop before"
    )
    steps: Annotated[int, Field(ge=1)] | None = Field(None, description="instead of epochs")
    batch_size: Annotated[int, Field(ge=1)] = 32
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    class_balance: Share = Field(
        0.5, description="0: samples count alike; 1: labels of single-label tasks count alike"
    )
    task_weights: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict, description="of each task's loss; 1 where nothing is said"
    )
    alone_weight: Annotated[float, Field(ge=0)] = Field(
        1.0, description="of the losses of each sense alone, for windows that have both"
    )
    evaluate_every: Annotated[int, Field(ge=1)] | None = Field(
        None, description="steps; null: a thirtieth of all, at least 10"
    )
    patience: Annotated[int, Field(ge=1)] = Field(
        15, description="evaluations without a lower calibrated held-out loss, then it stops"
    )
    checkpoint_every: Annotated[int, Field(ge=1)] = Field(100, description="steps")


class ValidationRecipe(Section):
    """What is held out to stop in time, to calibrate and to measure."""

    folds: Annotated[int, Field(ge=1, le=20)] = Field(
        5, description="1: one part is held out; more: every group is, in turn"
    )
    held_share: Annotated[float, Field(gt=0, lt=1)] = Field(0.2, description="with one fold")
    leave_out: bool = Field(
        True, description="leave out a sense that raises the held-out loss of windows with both"
    )
    refit: bool = Field(
        True, description="train the network that is kept on the held-out part as well"
    )


class TeacherRecipe(Section):
    """A backbone whose own scores are learnt, for files without labels."""

    backbone: str
    task: str | None = Field(None, description="name of the task; none: what the backbone names")
    temperature: Annotated[float, Field(gt=0)] = Field(2.0, description="softens its scores")


def _as_names(value: object) -> object:
    """One name or none as a list of names."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else value


class Recipe(Section):
    """Everything that a training depends on beside its data."""

    visual: Annotated[tuple[str, ...], BeforeValidator(_as_names)] = Field(
        ("efficientnet_lite0",), description="one, or a list whose tokens are joined"
    )
    audio: str | None = "yamnet"
    fps: Annotated[float, Field(gt=0, le=60)] | None = Field(
        None, description="pictures a second; none: the visual backbone's own, or 2"
    )
    tasks: tuple[str, ...] | None = Field(
        None, description="columns of the data; none: label, or action, scene and sound"
    )
    window: WindowConfig = WindowConfig()
    fusion: FusionRecipe = FusionRecipe()
    augmentation: AugmentationRecipe = AugmentationRecipe()
    optimiser: OptimiserRecipe = OptimiserRecipe()
    training: TrainingRecipe = TrainingRecipe()
    validation: ValidationRecipe = ValidationRecipe()
    teacher: TeacherRecipe | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    @model_validator(mode="after")
    def _senses_for_method(self) -> Recipe:
        if not self.visual and self.audio is None:
            raise ValueError("visual and audio must not both be null")
        if len(set(self.visual)) < len(self.visual):
            raise ValueError("visual names a backbone twice")
        method = self.fusion.method
        if method in ("visual", "audio") and not getattr(self, method):
            raise ValueError(
                f"fusion.method {method} needs a backbone: set {method} to one, or choose another "
                "method"
            )
        return self

    def to_yaml(self) -> str:
        """The whole recipe as YAML that loads again."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def senses_of(recipe: Recipe) -> tuple[Sense, ...]:
    """What the network answers from: the one sense of its method, or those with a backbone."""
    senses: tuple[Sense, ...] = get_args(Sense)
    if recipe.fusion.method in senses:
        return tuple(sense for sense in senses if sense == recipe.fusion.method)
    return tuple(sense for sense in senses if getattr(recipe, sense))


def frame_rate(recipe: Recipe, intervals_s: Sequence[float | None]) -> Fraction:
    """Pictures a second: the recipe's, the one that a visual backbone was made for, or 2.

    ``intervals_s`` are the backbones' own, None where one takes any rate; the first counts. It is
    the nearest simple fraction: 15 for an interval of 1/15 s, 24000/1001 for 23.976024.
    """
    if recipe.fps is not None:
        return Fraction(recipe.fps).limit_denominator(_LARGEST_DENOMINATOR)
    for interval_s in intervals_s:
        if interval_s is not None:
            return Fraction(1 / interval_s).limit_denominator(_LARGEST_DENOMINATOR)
    return _DEFAULT_FPS


def load_recipe(
    path: Path | None = None,
    settings: Sequence[str] = (),
    *,
    overrides: dict[str, Any] | None = None,
) -> Recipe:
    """Read a recipe from YAML, apply ``key=value`` settings over it and ``overrides`` over both.

    Raises:
        RecipeError: the file cannot be read, or a key or value is not allowed.
    """
    data = read_settings(
        path, settings, error=RecipeError, written="write KEY=VALUE, such as training.steps=200"
    )
    data.update(overrides or {})
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        listed = "configs/train.yaml lists them"
        raise RecipeError(explain(error, path, what="the recipe", listed=listed)) from None
