"""How far a student that looks at pictures can follow X3D-XS, and what holds it back.

    SIGHTSOUND_WEIGHTS=../shared/weights python benchmarks/agreement.py [--quick]

The default bundle learns its actions from X3D-XS, a network of motion, and is measured by how
often the teacher's first action of a clip that it has not learnt from is among its first five.
The same question is asked here, about the clips of datasets/clips, of

- the teacher itself, shown the same clips a little cropped, turned or flipped;
- the teacher itself, shown single pictures of them, one every two seconds, each held still;
- linear students on frozen networks, in five folds: on a small and on a larger network, and on
  the small one with part of the clips or of the photographs left out of training.

Features are kept where ``make bundle`` keeps its own. ``--quick`` trains a few steps in one fold.
"""

from __future__ import annotations

import argparse
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache, partial
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from report import publish, table

from sightsound.models.backbones.efficientnet import EFFICIENTNET_LITE0, EFFICIENTNET_LITE2
from sightsound.models.backbones.x3d import X3D_XS
from sightsound.models.pooling import softmax
from sightsound.pipeline.training.cache import FeatureCache
from sightsound.pipeline.training.default_bundle.fusion import ACTION
from sightsound.pipeline.training.default_bundle.material import TEACHER_FPS, Material, gather
from sightsound.pipeline.training.default_bundle.measure import by_file, teacher_means
from sightsound.pipeline.training.default_bundle.pictures import gather_pictures
from sightsound.pipeline.training.default_bundle.recipe import new_student
from sightsound.pipeline.training.default_bundle.samples import Samples
from sightsound.pipeline.training.default_bundle.validate import Held, joined_folds, validate_fold
from sightsound.pipeline.training.default_bundle.work import load_recipe
from sightsound.pipeline.training.features import Extraction

ASKED = "clips"
# Where the teacher's confidence in its first action changes what can be expected.
CONFIDENCES = (0.0, 0.2, 0.4, 0.7, 1.01)
STILL_FPS = Fraction(1, 2)
N_RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class Student:
    """A linear student: the network it looks through, and the share of the files it learns from."""

    name: str
    network: str = EFFICIENTNET_LITE0.name
    clips: float = 1.0
    stills: float = 1.0


STUDENTS = (
    Student(name="linear student, EfficientNet-lite0"),
    Student(name="with half of the clips", clips=0.5),
    Student(name="with a quarter of the clips", clips=0.25),
    Student(name="with a quarter of the photographs", stills=0.25),
    Student(name="linear student, EfficientNet-lite2", network=EFFICIENTNET_LITE2.name),
)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What was said of the n clips asked about, in the order of their files: (n, n_actions)."""

    name: str
    probabilities: torch.Tensor


def main() -> int:
    """Measure all and write the table."""
    options = _arguments()
    material = _material(EFFICIENTNET_LITE0.name, options)
    asked = _asked(material)
    taught = by_file(teacher_means(asked), asked.file)
    answers = [
        Answer(name=f"the teacher, clips altered ({variant})", probabilities=probabilities)
        for variant, probabilities in _altered(asked)
    ]
    say("the teacher on single pictures ...")
    answers.append(
        Answer(
            name="the teacher, single pictures held still",
            probabilities=_held_still(material, asked, options),
        )
    )
    n_folds = 1 if options.quick else load_recipe().material.n_folds
    jobs = [(student, fold) for student in STUDENTS for fold in range(n_folds)]
    for student in STUDENTS:
        _material(student.network, options)  # Extracted here, by all cores.
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        held = list(pool.map(partial(_ask, options=options), jobs))
    for number, student in enumerate(STUDENTS):
        said = joined_folds(held[number * n_folds : (number + 1) * n_folds])
        probabilities = torch.softmax(said.logits[ACTION], dim=1)
        # By file, each of which is in one fold: the order is that of ``asked``.
        answers.append(
            Answer(name=student.name, probabilities=by_file(probabilities, said.clips.file))
        )
    if options.quick:
        answers = [answer for answer in answers if len(answer.probabilities) == len(taught)]
    is_first = material.fold_of_file[torch.unique(asked.file)] == 0
    text = describe(answers, taught, is_first=is_first, n_folds=n_folds)
    publish("agreement", text, [], n_cores=options.processes, write=not options.quick)
    return 0


def describe(
    answers: list[Answer], taught: torch.Tensor, *, is_first: torch.Tensor, n_folds: int
) -> str:
    """The section: how often the teacher's first action is among five, of all clips, of those of
    the fold that the default bundle is asked about, and by the teacher's confidence."""
    first = taught.argmax(dim=1, keepdim=True)
    confidence = taught.max(dim=1).values
    bins = [(confidence >= low) & (confidence < high) for low, high in pairwise(CONFIDENCES)]
    rows = []
    for answer in answers:
        best = answer.probabilities.topk(5, dim=1).indices == first
        is_among = best.any(dim=1).float()
        rows.append(
            (
                answer.name,
                f"{float(best[:, 0].float().mean()):.1%}",
                f"{float(is_among.mean()):.1%} [{_interval(is_among)}]",
                f"{float(is_among[is_first].mean()):.1%}",
                *(f"{float(is_among[inside].mean()):.0%}" for inside in bins),
            )
        )
    names = ("below 0.2", "0.2 to 0.4", "0.4 to 0.7", "above 0.7")
    head = (
        *("answered by", "first", "among five", f"first fold ({int(is_first.sum())})"),
        *(f"{name} ({int(inside.sum())})" for name, inside in zip(names, bins, strict=True)),
    )
    return (
        f"{len(taught)} real clips; students are asked in {n_folds} folds about clips that they "
        "have not learnt from. How often the first action of X3D-XS is the first named and among "
        f"the first five, with the 95% interval by bootstrap over clips ({N_RESAMPLES} "
        "resamples); then the latter of the fold that `make bundle` asks its own networks about, "
        "and by the teacher's own confidence, with the number of clips."
        f"\n\n{table(head, rows)}"
    )


def _interval(is_among: torch.Tensor) -> str:
    random = np.random.default_rng(0)
    values = is_among.numpy()
    means = random.choice(values, (N_RESAMPLES, len(values))).mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return f"{low:.1%}, {high:.1%}"


def _asked(material: Material) -> Samples:
    return material.clips.take(material.marks(material.clips, lambda file: file.dataset == ASKED))


def _altered(asked: Samples) -> list[tuple[int, torch.Tensor]]:
    """What the teacher says of each altered variant of the clips."""
    return [
        (
            variant,
            by_file(
                teacher_means(replace(asked, teacher=asked.teacher[:, variant : variant + 1])),
                asked.file,
            ),
        )
        for variant in range(1, asked.teacher.shape[1])
    ]


def _held_still(material: Material, asked: Samples, options: argparse.Namespace) -> torch.Tensor:
    """What the teacher says of single pictures of each clip, the mean over the pictures."""
    pictures = gather_pictures(
        [file.path for file in material.files],
        options.features,
        fps=STILL_FPS,
        n_processes=options.processes,
        say=say,
    )
    pixels = np.load(pictures.path, mmap_mode="r")
    looks = Extraction(backbone=X3D_XS.name, fps=TEACHER_FPS, n_variants=1, keeps_logits=True)
    wanted = np.flatnonzero(np.isin(pictures.file, torch.unique(asked.file).numpy()))
    with tempfile.TemporaryDirectory() as folder:
        paths = {row: Path(folder, f"{row}.png") for row in wanted.tolist()}
        for row, path in paths.items():
            Image.fromarray(pixels[row]).save(path, compress_level=1)
        cache = FeatureCache(Path(folder, "features"))
        filled = cache.fill(
            [(path, [looks]) for path in paths.values()],
            n_processes=options.processes,
            on_progress=say,
        )
        found = cache.load(set(filled.ids.values()))
    said = [
        softmax(found[filled.ids[path], looks.name(0), 0].values.astype(np.float32)).mean(axis=0)
        for path in paths.values()
    ]
    files = torch.from_numpy(pictures.file[wanted])
    return by_file(torch.from_numpy(np.stack(said)), files)


def _ask(job: tuple[Student, int], *, options: argparse.Namespace) -> Held:
    """One student's answers to one fold."""
    student, fold = job
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    recipe = load_recipe()
    settings = recipe.student_training
    if options.quick:
        settings = settings.model_copy(update={"steps": 20})
    material = _material(student.network, options)
    random = np.random.default_rng(recipe.seed)
    rank = torch.from_numpy(random.permutation(len(material.files)) / len(material.files))
    is_asked = material.fold_of_file == fold

    def learnt(samples: Samples, share: float) -> Samples:
        return samples.take((rank < share)[samples.file] | is_asked[samples.file])

    held = validate_fold(
        replace(
            material,
            clips=learnt(material.clips, student.clips),
            stills=learnt(material.stills, student.stills),
        ),
        partial(new_student, material, recipe),
        settings,
        seed=recipe.seed,
        fold=fold,
    )
    say(f"{student.name}: fold {fold}")
    return held


@lru_cache(maxsize=1)
def _gathered(network: str, data: Path, features: Path, n_processes: int) -> Material:
    recipe = load_recipe()
    return gather(
        data,
        features,
        recipe.material,
        seed=recipe.seed,
        n_processes=n_processes,
        say=say,
        published=network,
    )


def _material(network: str, options: argparse.Namespace) -> Material:
    return _gathered(network, options.data, options.features, options.processes)


def say(text: str) -> None:
    """Progress, on the terminal."""
    print(text, flush=True)


def _arguments() -> argparse.Namespace:
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=here.parent.parent / "shared")
    parser.add_argument("--features", type=Path, default=here.parent / ".features")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="a few steps, one fold")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
