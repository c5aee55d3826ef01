"""The log-mel spectrogram of a window, with what in it made a label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sightsound.models.backbones.base import AudioBackbone
from sightsound.pipeline.explain.attributions import Regions
from sightsound.pipeline.explain.explanation import Explanation
from sightsound.pipeline.explain.page import QUIET, heat, plain, sharper
from sightsound.pipeline.explain.window import patch_starts_s

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SPECTROGRAM_INCHES = 2.6
_LARGEST_PERCENTILE = 99.0
_TICKS_HZ = (125, 250, 500, 1000, 2000, 4000, 7500, 15000)
# Between which frequencies the mel bands of known front ends lie.
_BANDS_HZ = {"yamnet": (125.0, 7500.0), "efficientat_mn04": (0.0, 15000.0)}


@dataclass(frozen=True, kw_only=True)
class _Canvas:
    """Patches laid into one picture: ``values`` (times, bands) from ``start_s`` to ``end_s``."""

    values: NDArray[np.float64]
    start_s: float
    end_s: float


def draw_spectrogram(
    axes: Axes, explanation: Explanation, regions: Regions | None, *, span_s: tuple[float, float]
) -> None:
    """Grey is loud, red speaks for the label and blue against it."""
    found = explanation.found
    name = regions.source.backbone.name if regions is not None else next(iter(found.log_mels))
    (backbone,) = (each for each in explanation.bundle.audio if each.name == name)
    seen = found.log_mels[name]
    assert found.plan.audio_span_s is not None
    starts_s = patch_starts_s(backbone.log_mel, seen.times_s, found.plan.audio_span_s)
    length_s = backbone.log_mel.patch_samples / backbone.log_mel.sample_rate_hz
    sound = lay(seen.values.astype(np.float64), starts_s, length_s=length_s, mean=True)
    n_bands = backbone.log_mel.n_mels
    axes.imshow(
        sound.values.T,
        extent=(sound.start_s, sound.end_s, 0, n_bands),
        origin="lower",
        aspect="auto",
        cmap="gray_r",
        vmin=float(np.nanpercentile(sound.values, 5)),
        vmax=float(np.nanmax(sound.values)) + 1.0,
        interpolation="bilinear",
    )
    if regions is not None:
        _overlay(axes, regions, starts_s, length_s=length_s, n_bands=n_bands)
    else:
        axes.set_title(
            f"the task {explanation.task.name} does not listen",
            loc="right",
            fontsize=10,
            color=QUIET,
            pad=3,
        )
    axes.set_xlim(*span_s)
    axes.set_ylim(0, n_bands)
    plain(axes)
    axes.set_xlabel("seconds from the start of the video", fontsize=10, labelpad=2)
    _label_bands(axes, backbone)


def lay(
    patches: NDArray[np.float64], starts_s: NDArray[np.float64], *, length_s: float, mean: bool
) -> _Canvas:
    """Patches (n, frames, bands) on one axis of time; where they overlap, their mean or sum.

    Not a number where there is no patch and the mean is wanted, else 0.
    """
    n_frames, n_bands = patches.shape[1:]
    step_s = length_s / n_frames
    places = np.round((starts_s - starts_s[0]) / step_s).astype(int)
    total = np.zeros((int(places[-1]) + n_frames, n_bands))
    count = np.zeros((len(total), 1))
    for place, patch in zip(places, patches, strict=True):
        total[place : place + n_frames] += patch
        count[place : place + n_frames] += 1
    if mean:
        total = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    start_s = float(starts_s[0])
    return _Canvas(values=total, start_s=start_s, end_s=start_s + len(total) * step_s)


def _overlay(
    axes: Axes,
    regions: Regions,
    starts_s: NDArray[np.float64],
    *,
    length_s: float,
    n_bands: int,
) -> None:
    fine = np.stack([sharper(cells, smooth=True) for cells in regions.cells])
    laid = lay(fine, starts_s[regions.tokens], length_s=length_s, mean=False)
    largest = float(np.percentile(np.abs(laid.values), _LARGEST_PERCENTILE))
    axes.imshow(
        heat(laid.values.T, largest=largest),
        extent=(laid.start_s, laid.end_s, 0, n_bands),
        origin="lower",
        aspect="auto",
        interpolation="bilinear",
    )


def _label_bands(axes: Axes, backbone: AudioBackbone) -> None:
    n_bands = backbone.log_mel.n_mels
    edges_hz = _BANDS_HZ.get(backbone.name)
    if edges_hz is None:
        axes.set_ylabel("mel band", fontsize=10)
        return
    low, high = _mel(edges_hz[0]), _mel(edges_hz[1])
    shown = [hz for hz in _TICKS_HZ if edges_hz[0] <= hz <= edges_hz[1]]
    if edges_hz[0] == 0:
        shown = [hz for hz in shown if hz >= 500]
    places = [(_mel(hz) - low) / (high - low) * n_bands for hz in shown]
    axes.set_yticks(places, [f"{hz / 1000:g}k" if hz >= 1000 else str(hz) for hz in shown])
    axes.set_ylabel(f"Hz\n({n_bands} mel bands)", fontsize=10)


def _mel(hz: float) -> float:
    """O'Shaughnessy's mel scale, as HTK and Kaldi have it."""
    return 2595 * float(np.log10(1 + hz / 700))
