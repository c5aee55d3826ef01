"""How good each way of fusing is, beside each sense alone and a plain classifier.

    python benchmarks/fusion.py [--sets esc10 ...] [--methods bottleneck ...] [--quick]

esc10      sounds, in the five folds that the data gives, by sound alone.
fights     surveillance-style clips, most without sound: five folds of whole groups, dealt anew
           for each of three seeds. Needs the weights of X3D-XS ($SIGHTSOUND_WEIGHTS).
places100  photographs of scenes: trained on the split train, asked about the split test.
sports100  photographs of sports, likewise; four networks look. Needs those weights, too.

Each network is trained with the set's recipe (see ``recipe_for``) but for its method of fusion,
stops by and is calibrated on a part of its own training samples, and is asked about samples of
which it has seen no group. The plain classifier is logistic regression (scikit-learn) on the mean
of frozen features: of stills those of EfficientNet-lite0, and those of all networks of the recipe
where it has several; of fights those of X3D-XS. Of places100 the default bundle is asked as well,
whose network ``make bundle`` trained further on the split train. Prints a table a set and puts it
into RESULTS.md. Features are extracted first, then methods are trained side by side, one a core.
``--quick`` trains a few steps on one variant, to see that all of it runs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from fusion_table import BUNDLE, PLAIN, PLAIN_OF_ALL, Result, describe
from report import publish

from sightsound.models.bundle import load_bundle
from sightsound.models.cache import cache_folder
from sightsound.models.errors import ModelError
from sightsound.models.fusion import METHODS
from sightsound.pipeline.config import Config
from sightsound.pipeline.evaluation.bundle_run import answers, score_samples
from sightsound.pipeline.evaluation.folds import ask, cross_validate, fit_honestly, make_folds
from sightsound.pipeline.evaluation.matching import match_tasks
from sightsound.pipeline.evaluation.records import TaskPredictions
from sightsound.pipeline.training.dataset import read_dataset
from sightsound.pipeline.training.extract import Features, extract_features
from sightsound.pipeline.training.recipe import Recipe, load_recipe
from sightsound.pipeline.training.records import Dataset, LabelledSample
from sightsound.pipeline.training.splits import Fold
from sightsound.pipeline.training.validate import join

SETS = ("esc10", "fights", "places100", "sports100")
STILLS = ("places100", "sports100")
CONFIGS = Path(__file__).resolve().parent.parent / "configs"
# Where clips are few, what is asked of which training matters more than the method.
SEEDS = {"fights": 3}
N_FOLDS = 5
PLAIN_VISUAL = ("efficientnet_lite0",)
# Thousands of photographs need fewer rounds, in larger batches, than hundreds of clips.
STILLS_SETTINGS = ("audio=null", "training.batch_size=128", "training.epochs=15")
QUICK_SETTINGS = ("training.steps=40", "augmentation.n_variants=1")


def recipe_for(set_name: str, method: str | None, *, seed: int, quick: bool) -> Recipe:
    """The set's own recipe where configs/ has one, else the default; ``method`` None keeps its."""
    own = CONFIGS / f"train_{set_name}.yaml"
    settings = [f"seed={seed}"]
    if set_name in STILLS:
        settings += STILLS_SETTINGS
    if quick:
        settings += QUICK_SETTINGS
    if method is not None:
        settings.append(f"fusion.method={method}")
    return load_recipe(own if own.is_file() else None, settings)


def methods_of(set_name: str, methods: Sequence[str]) -> tuple[str, ...]:
    """The methods that the set can tell apart: sounds have one sense, stills the other."""
    if set_name == "esc10":
        return tuple(method for method in methods if method == "audio")
    if set_name in STILLS:
        return tuple(method for method in methods if method != "audio")
    return tuple(methods)


def plain_of(set_name: str) -> tuple[str, ...]:
    """The plain classifiers beside it: one, or two where several networks look."""
    if set_name == "esc10":
        return ()
    n_networks = len(recipe_for(set_name, None, seed=0, quick=False).visual)
    return (PLAIN, PLAIN_OF_ALL) if n_networks > 1 else (PLAIN,)


def run_set(set_name: str, options: argparse.Namespace) -> list[Result]:
    """Every method on one set, and the plain classifier on stills; features are extracted once."""
    methods = methods_of(set_name, options.methods)
    dataset, _ = load_features(set_name, methods[0], options)
    jobs = [*methods, *plain_of(set_name)]
    n_processes = min(Config().worker_count(), len(jobs))
    results = []
    with ProcessPoolExecutor(n_processes, mp_context=get_context("spawn")) as pool:
        for result in pool.map(partial(run_method, set_name, options=options), jobs):
            say(f"{set_name}, {result.method}: {result.train_s:.0f} s of training")
            results.append(result)
    if set_name == "places100":
        results.append(run_bundle(dataset))
    return results


def run_method(set_name: str, method: str, *, options: argparse.Namespace) -> Result:
    """One method on one set, on one thread; the answers of all seeds together."""
    torch.set_num_threads(1)
    dataset, features = load_features(set_name, method, options)
    run = run_split if set_name in STILLS else run_folds
    results = []
    for seed in range(options.seed, options.seed + SEEDS.get(set_name, 1)):
        if method in (PLAIN, PLAIN_OF_ALL):
            predictions, train_s = run_plain(set_name, dataset, features, seed=seed)
        else:
            recipe = recipe_for(set_name, method, seed=seed, quick=options.quick)
            predictions, train_s = run(recipe, dataset, features, seed=seed)
        names = tuple(f"{name}, seed {seed}" for name in predictions.samples)
        results.append((replace(predictions, samples=names), train_s))
    return Result(
        method=method,
        predictions=join([predictions for predictions, _ in results]),
        train_s=sum(seconds for _, seconds in results) / len(results),
        n_seeds=len(results),
    )


def load_features(
    set_name: str, method: str, options: argparse.Namespace
) -> tuple[Dataset, Features]:
    """The set and its features, extracted where they are not kept."""
    dataset = read_dataset(options.data / set_name / "labels.csv")
    recipe = recipe_for(
        set_name, method if method in METHODS else None, seed=options.seed, quick=options.quick
    )
    if method == PLAIN and set_name in STILLS:
        recipe = recipe.model_copy(update={"visual": PLAIN_VISUAL})
    features = extract_features(
        dataset,
        recipe,
        cache=options.features,
        n_processes=Config().worker_count(),
        on_progress=say,
    )
    return dataset, features


def run_folds(
    recipe: Recipe, dataset: Dataset, features: Features, *, seed: int
) -> tuple[TaskPredictions, float]:
    """Cross-validation over the groups; the time is of all folds together."""
    made = cross_validate(
        recipe,
        dataset,
        features,
        samples=range(len(dataset.samples)),
        n_folds=N_FOLDS,
        seed=seed,
    )
    return made.by_senses["both"]["label"], sum(fold.train_s for fold in made.report.folds)


def run_split(
    recipe: Recipe, dataset: Dataset, features: Features, *, seed: int
) -> tuple[TaskPredictions, float]:
    """Train on the split train, ask about the split test."""
    began = time.perf_counter()
    fitted = fit_honestly(recipe, dataset, features, train=rows(dataset, "train"), seed=seed)
    train_s = time.perf_counter() - began
    answers = ask(fitted, dataset, features, samples=rows(dataset, "test"))
    return answers["both"]["label"], train_s


def run_plain(
    set_name: str, dataset: Dataset, features: Features, *, seed: int
) -> tuple[TaskPredictions, float]:
    """Logistic regression on each file's mean token, in the same parts as the methods."""
    if set_name in STILLS:
        parts: Sequence[Fold] = [Fold(train=rows(dataset, "train"), held=rows(dataset, "test"))]
    else:
        every = range(len(dataset.samples))
        parts, _ = make_folds(dataset, every, n_folds=N_FOLDS, seed=seed)
    answered = [regress(dataset, features, part) for part in parts]
    return join([said for said, _ in answered]), sum(train_s for _, train_s in answered)


def regress(dataset: Dataset, features: Features, part: Fold) -> tuple[TaskPredictions, float]:
    """The plain classifier, fitted to a part's samples and asked about those held out."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    (task,) = dataset.tasks
    train, asked = (
        [sample for n in numbers if (sample := dataset.samples[n]).path in features.files]
        for numbers in (part.train, part.held)
    )

    def means(samples: Sequence[LabelledSample]) -> np.ndarray:
        files = [features.files[sample.path].visual[0] for sample in samples]
        return np.stack([file.values.astype(np.float32).mean(axis=0) for file in files])

    def labels(samples: Sequence[LabelledSample]) -> np.ndarray:
        return np.array([sample.labels[task.name][0] for sample in samples])

    began = time.perf_counter()
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    model.fit(means(train), labels(train))
    train_s = time.perf_counter() - began
    found = model.predict_proba(means(asked))
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
        truth=np.array(task.labels) == labels(asked)[:, None],
        samples=tuple(sample.name for sample in asked),
        groups=tuple(sample.group for sample in asked),
        has_audio=np.array([has_sound(features, sample) for sample in asked], dtype=bool),
    )
    return predictions, train_s


def has_sound(features: Features, sample: LabelledSample) -> bool:
    """Whether a sample's file has anything to be heard."""
    return any(len(variant.times_s) > 0 for variant in features.files[sample.path].audio[:1])


def run_bundle(dataset: Dataset) -> Result:
    """The default bundle's scenes of the split test."""
    config = Config(model="default")
    samples = [dataset.samples[n] for n in rows(dataset, "test")]
    (match,) = match_tasks(dataset, load_bundle(config.model), {dataset.tasks[0].name: "scene"})
    names = [f"{sample.name}, seed 0" for sample in samples]
    answered = answers(samples, names, score_samples(samples, config), match)
    return Result(method=BUNDLE, predictions=answered.by_senses["both"], train_s=None)


def rows(dataset: Dataset, split: str) -> tuple[int, ...]:
    """Numbers of the samples of a split."""
    return tuple(n for n, sample in enumerate(dataset.samples) if sample.split == split)


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
    """Run the sets asked for; the status is 1 where a target is missed or a set cannot be run."""
    options = _arguments()
    n_cores = Config().worker_count()
    all_met = True
    for name in options.sets:
        if not methods_of(name, options.methods):
            say(f"{name}: none of {', '.join(options.methods)} suits it; left out.")
            continue
        try:
            results = run_set(name, options)
        except ModelError as error:
            say(f"{name}: left out. {error}")
            all_met = False
            continue
        text, targets = describe(
            name,
            results,
            fused=recipe_for(name, None, seed=0, quick=False).fusion.method,
            seed=options.seed,
            quick=options.quick,
        )
        write = not options.no_write and not options.quick
        all_met &= publish(f"fusion: {name}", text, targets, n_cores=n_cores, write=write)
    return 0 if all_met else 1


if __name__ == "__main__":
    raise SystemExit(main())
