"""How good each way of fusing is, beside each sense alone and a plain classifier.

    python benchmarks/fusion.py [--sets esc10 ...] [--methods bottleneck ...] [--quick]

esc10      sounds, in the five folds that the data gives, by sound alone.
fights     surveillance-style clips, most without sound: five folds of whole groups.
places100  photographs of scenes: trained on the split train, asked about the split test.
sports100  photographs of sports, likewise.

Each network is trained with the default recipe but for its method of fusion, stops by and is
calibrated on a part of its own training samples, and is asked about samples of which it has seen
no group. The plain classifier is logistic regression (scikit-learn) on the mean of the frozen
features of EfficientNet-lite0, the same that the networks get. Prints a table a set and puts it
into RESULTS.md. ``--quick`` trains a few steps on one variant, to see that all of it runs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from report import Target, publish, table

from sightsound.models.cache import cache_folder
from sightsound.models.fusion import METHODS
from sightsound.pipeline.config import Config
from sightsound.pipeline.evaluation.cells import with_interval
from sightsound.pipeline.evaluation.compare import compare
from sightsound.pipeline.evaluation.folds import ask, cross_validate, fit_honestly
from sightsound.pipeline.evaluation.intervals import bootstrap_intervals
from sightsound.pipeline.evaluation.metrics import measure
from sightsound.pipeline.evaluation.records import TaskPredictions
from sightsound.pipeline.evaluation.results import TaskMetrics
from sightsound.pipeline.evaluation.senses import part_scores
from sightsound.pipeline.training.dataset import read_dataset
from sightsound.pipeline.training.extract import Features, extract_features
from sightsound.pipeline.training.recipe import Recipe
from sightsound.pipeline.training.records import Dataset

SETS = ("esc10", "fights", "places100", "sports100")
STILLS = ("places100", "sports100")
PLAIN = "logistic regression"
N_FOLDS, N_RESAMPLES = 5, 1000
LEAST_SOUND_ACCURACY, LEAST_GAIN = 0.95, 0.03


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is asked on the command line."""

    data: Path
    features: Path
    methods: tuple[str, ...]
    quick: bool
    seed: int


@dataclass(frozen=True, kw_only=True)
class Result:
    """One method on one set: its answers to all samples, and the time of its trainings."""

    method: str
    predictions: TaskPredictions
    train_s: float

    @property
    def metrics(self) -> TaskMetrics:
        return measure(self.predictions)


def recipe_for(method: str, set_name: str, setting: Setting) -> Recipe:
    """The default recipe with another method; without a backbone that has nothing to look at."""
    settings: dict[str, Any] = {"fusion": {"method": method}, "seed": setting.seed}
    if set_name == "esc10":
        settings["visual"] = None
    if setting.quick:
        settings["training"] = {"steps": 40}
        settings["augmentation"] = {"n_variants": 1}
    return Recipe.model_validate(settings)


def methods_of(set_name: str, setting: Setting) -> tuple[str, ...]:
    """The methods that the set can tell apart: sounds have one sense, stills the other."""
    if set_name == "esc10":
        return tuple(method for method in setting.methods if method == "audio")
    if set_name in STILLS:
        return tuple(method for method in setting.methods if method != "audio")
    return setting.methods


def run_set(set_name: str, setting: Setting) -> list[Result]:
    """Every method on one set; features are extracted once."""
    dataset = read_dataset(setting.data / set_name / "labels.csv")
    results = []
    methods = methods_of(set_name, setting)
    features = None
    for method in methods:
        recipe = recipe_for(method, set_name, setting)
        if features is None:
            features = extract_features(
                dataset,
                recipe,
                cache=setting.features,
                n_processes=Config().worker_count(),
                on_progress=say,
            )
        say(f"{set_name}: {method}")
        run = run_split if set_name in STILLS else run_folds
        results.append(run(method, recipe, dataset, features, seed=setting.seed))
    if set_name in STILLS and features is not None:
        say(f"{set_name}: {PLAIN}")
        results.append(run_plain(dataset, features))
    return results


def run_folds(
    method: str, recipe: Recipe, dataset: Dataset, features: Features, *, seed: int
) -> Result:
    """Cross-validation over the groups."""
    made = cross_validate(
        recipe,
        dataset,
        features,
        samples=range(len(dataset.samples)),
        n_folds=N_FOLDS,
        seed=seed,
        on_progress=say,
    )
    return Result(
        method=method,
        predictions=made.by_senses["both"]["label"],
        train_s=sum(fold.train_s for fold in made.report.folds),
    )


def run_split(
    method: str, recipe: Recipe, dataset: Dataset, features: Features, *, seed: int
) -> Result:
    """Train on the split train, ask about the split test."""
    began = time.perf_counter()
    fitted = fit_honestly(recipe, dataset, features, train=rows(dataset, "train"), seed=seed)
    train_s = time.perf_counter() - began
    answers = ask(fitted, dataset, features, samples=rows(dataset, "test"))
    return Result(method=method, predictions=answers["both"]["label"], train_s=train_s)


def run_plain(dataset: Dataset, features: Features) -> Result:
    """Logistic regression on each file's mean frame."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    (task,) = dataset.tasks
    known = {
        split: [n for n in rows(dataset, split) if dataset.samples[n].path in features.files]
        for split in ("train", "test")
    }

    def means(split: str) -> np.ndarray:
        files = [features.files[dataset.samples[n].path] for n in known[split]]
        return np.stack([file.visual[0].values.astype(np.float32).mean(axis=0) for file in files])

    def labels(split: str) -> np.ndarray:
        return np.array([dataset.samples[n].labels[task.name][0] for n in known[split]])

    began = time.perf_counter()
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    model.fit(means("train"), labels("train"))
    train_s = time.perf_counter() - began
    asked = [dataset.samples[n] for n in known["test"]]
    found = model.predict_proba(means("test"))
    place = {label: i for i, label in enumerate(model.classes_)}
    probabilities = np.zeros((len(asked), len(task.labels)))
    for i, label in enumerate(task.labels):
        if label in place:
            probabilities[:, i] = found[:, place[label]]
    predictions = TaskPredictions(
        task=task.name,
        kind="single",
        labels=task.labels,
        probabilities=probabilities,
        truth=np.array(task.labels) == labels("test")[:, None],
        samples=tuple(sample.name for sample in asked),
        groups=tuple(sample.group for sample in asked),
        has_audio=np.zeros(len(asked), dtype=bool),
    )
    return Result(method=PLAIN, predictions=predictions, train_s=train_s)


def rows(dataset: Dataset, split: str) -> list[int]:
    """Numbers of the samples of a split."""
    return [n for n, sample in enumerate(dataset.samples) if sample.split == split]


def describe(
    set_name: str, results: Sequence[Result], setting: Setting
) -> tuple[str, list[Target]]:
    """A set's section: its table, and the targets that it has."""
    lines = []
    by_method: dict[str, dict[str, float]] = {}
    for result in results:
        metrics = result.metrics
        intervals = bootstrap_intervals(
            result.predictions, n_resamples=N_RESAMPLES, seed=setting.seed
        )
        parts = {
            part.part: part
            for part in part_scores(
                result.predictions,
                without_sound=None,
                without_picture=None,
                n_resamples=N_RESAMPLES,
                seed=setting.seed,
            )
        }
        by_method[result.method] = {name: part.accuracy or 0.0 for name, part in parts.items()}
        by_method[result.method]["all"] = metrics.accuracy or 0.0
        cells = [
            result.method,
            with_interval(metrics.accuracy, intervals, "accuracy"),
            with_interval(metrics.top5, intervals, "top5"),
            with_interval(metrics.macro_f1, intervals, "macro_f1"),
        ]
        for name in ("with sound", "without sound"):
            part = parts.get(name)
            both = part is not None and len(parts) > 1
            cells.append(with_interval(part.accuracy, part.intervals, "accuracy") if both else "–")
        lines.append((*cells, f"{result.train_s:.0f}"))
    head = ("method", "accuracy", "top-5", "macro F1", "with sound", "without sound", "training, s")
    n_samples = len(results[0].predictions.samples)
    text = (
        f"{n_samples} samples in {len(set(results[0].predictions.groups))} groups. In brackets the "
        f"95% interval by bootstrap over groups ({N_RESAMPLES} resamples); training is wall "
        f"time of all folds together.\n\n{table(head, lines)}"
    )
    if setting.quick:
        text = f"Quick: 40 steps, no augmentation; only to see that it runs.\n\n{text}"
    if len(results) > 1:
        text += f"\n\n{against_best(results, setting)}"
    return text, targets_of(set_name, by_method)


def against_best(results: Sequence[Result], setting: Setting) -> str:
    """Each method against the most accurate, in one line each."""
    best = max(results, key=lambda result: result.metrics.accuracy or 0.0)
    lines = [f"Accuracy beside {best.method} (exact McNemar test, uncorrected):", ""]
    for result in results:
        if result is not best:
            pair = compare(
                best.predictions,
                result.predictions,
                names=(best.method, result.method),
                n_resamples=N_RESAMPLES,
                seed=setting.seed,
            )
            assert pair is not None
            lines.append(f"- {result.method}: {pair.difference:+.3f}, p = {pair.p_value:.3g}")
    return "\n".join(lines)


def targets_of(set_name: str, by_method: dict[str, dict[str, float]]) -> list[Target]:
    """What must be reached, as something that must stay below a limit."""
    if set_name == "esc10" and "audio" in by_method:
        error = 1 - by_method["audio"]["all"]
        limit = round(1 - LEAST_SOUND_ACCURACY, 3)
        return [Target(what="esc10, sound alone: error", limit=limit, measured=error)]
    needed = {"bottleneck", "visual", "audio"}
    if set_name != "fights" or not needed <= by_method.keys():
        return []
    fused, visual, audio = (by_method[name] for name in ("bottleneck", "visual", "audio"))
    better = max(visual.get("with sound", 0.0), audio.get("with sound", 0.0))
    return [
        Target(
            what="fights with sound: better single sense - fused",
            limit=-LEAST_GAIN,
            measured=better - fused.get("with sound", 0.0),
        ),
        Target(
            what="fights without sound: picture alone - fused",
            limit=0.0,
            measured=visual.get("without sound", 0.0) - fused.get("without sound", 0.0),
        ),
    ]


def say(text: str) -> None:
    """Progress, on the terminal."""
    print(text, flush=True)


def _arguments() -> argparse.Namespace:
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--quick", action="store_true", help="a few steps, no augmentation")
    parser.add_argument("--seed", type=int, default=0)
    folder = here.parent.parent / "shared" / "datasets"
    parser.add_argument("--data", type=Path, default=folder, help="folder of the sets")
    features = cache_folder() / "features"
    parser.add_argument("--features", type=Path, default=features, help="where features are kept")
    parser.add_argument("--no-write", action="store_true", help="leave RESULTS.md as it is")
    return parser.parse_args()


def main() -> int:
    """Run the sets asked for; the status is 1 where a target is missed."""
    arguments = _arguments()
    setting = Setting(
        data=arguments.data,
        features=arguments.features,
        methods=tuple(arguments.methods),
        quick=arguments.quick,
        seed=arguments.seed,
    )
    n_cores = Config().worker_count()
    all_met = True
    for name in arguments.sets:
        if not methods_of(name, setting):
            say(f"{name}: none of {', '.join(setting.methods)} suits it; left out.")
            continue
        results = run_set(name, setting)
        text, targets = describe(name, results, setting)
        write = not arguments.no_write and not arguments.quick
        all_met &= publish(f"fusion: {name}", text, targets, n_cores=n_cores, write=write)
    return 0 if all_met else 1


if __name__ == "__main__":
    raise SystemExit(main())
