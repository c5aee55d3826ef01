"""The ``explain`` command: a window's label explained, or rules over whole videos."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.text import Text

from sightsound.models.bundle import Bundle, load_bundle
from sightsound.pipeline.config import Config
from sightsound.pipeline.explain.errors import ExplainUsageError
from sightsound.pipeline.explain.explanation import (
    Explanation,
    check_task,
    explain_window,
    find_label,
)
from sightsound.pipeline.explain.report import explanation_json, show_explanation
from sightsound.pipeline.explain.window import WindowRunner, find_moment
from sightsound.pipeline.manifests import absolute_uri
from sightsound.pipeline.prepare import check_weights
from sightsound.pipeline.show import terminal_json
from sightsound.stages.errors import printable


def explain(
    inputs: list[str],
    config: Config,
    *,
    at_s: float | None,
    task: str | None,
    label: str | None,
    out: Path | None,
    rules: bool,
    output: Literal["table", "json"],
) -> None:
    """Explain one window of one video, or give the rules of several, or both.

    Raises:
        ExplainUsageError: there is no such moment, task or label, or too much is asked at once.
        ExplainError: the window has no answer, or there is too little for rules.
        StageError: a video cannot be read.
        ModelError: the model cannot be had.
        OSError: the picture cannot be written.
    """
    check_request(inputs, at_s=at_s, label=label, out=out, rules=rules)
    bundle = load_bundle(config.model)
    if task is not None:
        chosen = check_task(bundle, task)
        if label is not None:
            find_label(chosen, label)
    check_weights(bundle)
    notes = Console(stderr=True, highlight=False)
    uris = [absolute_uri(item) for item in inputs]
    answer: dict[str, Any] = {}
    if at_s is not None:
        explanation = _explain_moment(
            config, bundle, uris[0], at_s=at_s, task=task, label=label, notes=notes
        )
        if out is not None:
            _draw(explanation, out)
            notes.print(f"Drawn: {out}", soft_wrap=True)
        if output == "table":
            show_explanation(_console(), explanation)
        answer |= explanation_json(explanation)
        task = explanation.task.name
    try:
        if rules:
            answer["surrogate"] = _rules(
                config, bundle, uris, task=task, output=output, notes=notes
            )
    finally:
        # What is known is told, even where there is too little for rules.
        if output == "json" and answer:
            sys.stdout.write(terminal_json(answer) + "\n")


def check_request(
    inputs: list[str], *, at_s: float | None, label: str | None, out: Path | None, rules: bool
) -> None:
    """Refuse what cannot be meant, before anything is loaded.

    Raises:
        ExplainUsageError: what is asked for does not go together.
    """
    if at_s is None and not rules:
        raise ExplainUsageError("Say what to explain: a moment with --at SECONDS, or --rules.")
    if at_s is not None and len(inputs) > 1:
        raise ExplainUsageError(
            f"--at is a moment of one video, but {len(inputs)} are given: give one."
        )
    if at_s is None and (out is not None or label is not None):
        option = "--out" if out is not None else "--label"
        raise ExplainUsageError(f"{option} goes with a moment: give --at SECONDS, too.")
    if out is not None and out.suffix.lower() != ".png":
        raise ExplainUsageError(f"--out {out} is drawn as a PNG: give a name that ends in .png.")
    if out is not None and not out.absolute().parent.is_dir():
        raise ExplainUsageError(f"--out {out}: there is no folder {out.absolute().parent}.")


def _explain_moment(
    config: Config,
    bundle: Bundle,
    uri: str,
    *,
    at_s: float,
    task: str | None,
    label: str | None,
    notes: Console,
) -> Explanation:
    moment = find_moment(config, bundle, uri, at_s=at_s)
    with _telling(notes) as tell:
        tell("Looking and listening")
        runner = WindowRunner(config)
        found = runner.read(moment)
        return explain_window(
            bundle,
            found,
            uri=uri,
            task=task,
            label=label,
            device=runner.device,
            on_progress=lambda what: tell(f"Attributing: {what}"),
        )


def _rules(
    config: Config,
    bundle: Bundle,
    uris: list[str],
    *,
    task: str | None,
    output: Literal["table", "json"],
    notes: Console,
) -> dict[str, Any]:
    from sightsound.pipeline.explain.concepts import concept_table
    from sightsound.pipeline.explain.surrogate import fit_surrogate, rule_lines, surrogate_json

    chosen = check_task(bundle, task) if task is not None else bundle.tasks[0]
    with _telling(notes) as tell:
        table = concept_table(
            config,
            bundle,
            uris,
            task=chosen,
            on_progress=lambda uri: tell(f"Looking and listening: {uri}"),
        )
    surrogate = fit_surrogate(table)
    if output == "table":
        console = _console()
        console.print(f"Rules for {chosen.name}, by what is seen and heard on the whole:")
        for line in rule_lines(surrogate):
            console.print(line, markup=False, soft_wrap=True)
    return surrogate_json(surrogate)


@contextmanager
def _telling(notes: Console) -> Iterator[Callable[[str], None]]:
    """Tells what is being done: on a terminal in one line that changes, else in a line each."""
    if not notes.is_terminal:
        yield lambda what: notes.print(f"{printable(what)} ...", markup=False, soft_wrap=True)
        return
    with notes.status("") as status:
        yield lambda what: status.update(Text(f"{printable(what)} ..."))


def _draw(explanation: Explanation, out: Path) -> None:
    from sightsound.pipeline.explain.draw import draw_explanation

    draw_explanation(explanation, out)


def _console() -> Console:
    width = None if sys.stdout.isatty() else 110
    return Console(width=width, highlight=False)
