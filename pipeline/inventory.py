"""The ``models`` command: which bundles and backbones there are, and whether they can be used."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from sightsound.models.backbones import AUDIO_BACKBONES, VISUAL_BACKBONES
from sightsound.models.backbones.library import LIBRARIES
from sightsound.models.bundle import BUILT_IN, Bundle, load_bundle
from sightsound.models.errors import ModelError


def show_models() -> None:
    """Print two tables: bundles with their tasks, backbones with origin and licence."""
    console = Console(highlight=False)
    bundles = Table(title="Bundles", title_justify="left", box=None, header_style="bold dim")
    for column in ("name", "tasks", "fps", "usable"):
        bundles.add_column(column)
    for name in BUILT_IN:
        bundles.add_row(*_bundle_cells(name))
    console.print(bundles, "")
    backbones = Table(title="Backbones", title_justify="left", box=None, header_style="bold dim")
    for column in ("name", "sense", "dim", "labels from", "licence", "weights"):
        backbones.add_column(column, overflow="fold")
    for sense, group in (("picture", VISUAL_BACKBONES), ("sound", AUDIO_BACKBONES)):
        for backbone in group.values():
            here = backbone.weights.find() is not None
            backbones.add_row(
                backbone.name,
                sense,
                str(backbone.embedding_dim),
                backbone.origin,
                backbone.licence,
                "here" if here else "missing",
            )
    for name in ("name", "weights"):
        next(column for column in backbones.columns if column.header == name).no_wrap = True
    console.print(backbones)
    names = " and ".join(f"{library}:NAME" for library in LIBRARIES)
    console.print(f"Besides these: {names}, by the names that the library gives.", soft_wrap=True)
    remedies = {
        backbone.weights.file: backbone.weights.remedy()
        for backbone in (*VISUAL_BACKBONES.values(), *AUDIO_BACKBONES.values())
        if backbone.weights.find() is None
    }
    for file, remedy in remedies.items():
        console.print(f"Missing: {file} ({remedy}).", soft_wrap=True)


def missing_weights(bundle_name: str) -> list[str]:
    """One sentence for each thing that keeps a bundle from being used."""
    try:
        bundle = load_bundle(bundle_name)
    except ModelError as error:
        return [str(error)]
    return [
        f"{backbone.weights.file} was not found: {backbone.weights.remedy()}."
        for backbone in (*bundle.visual, *bundle.audio)
        if backbone.weights.find() is None
    ]


def _bundle_cells(name: str) -> tuple[str, str, str, str]:
    missing = missing_weights(name)
    try:
        bundle: Bundle | None = load_bundle(name)
    except ModelError:
        bundle = None
    if bundle is None:
        return name, "", "", "no: weights are missing" if missing else "no"
    tasks = ", ".join(f"{task.name} ({len(task.labels)})" for task in bundle.tasks)
    return name, tasks, str(float(bundle.fps)), "yes" if not missing else "no: weights are missing"
