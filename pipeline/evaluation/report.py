"""A report on disk: JSON with everything, Markdown and one HTML file to read, and the figures."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from sightsound.pipeline.evaluation import tables
from sightsound.pipeline.evaluation.cells import Table
from sightsound.pipeline.evaluation.evaluation import Evaluation
from sightsound.pipeline.evaluation.plots import draw_all
from sightsound.pipeline.evaluation.results import ModelReport, TaskReport
from sightsound.pipeline.training.records import DataError

FIGURE_NAMES = {
    "confusion": "Confusion matrix",
    "classes": "F1 by label",
    "roc": "ROC curves",
    "reliability": "Reliability diagram",
}

# The document asks for nothing from anywhere, and says so to the browser.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_CSS = """
:root { color-scheme: light; }
body { margin: 0 auto; padding: 2rem 1.5rem 4rem; max-width: 1180px; background: #fff;
  color: #1f2933; font: 15px/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
h1 { margin: 0 0 .25rem; font-size: 1.7rem; }
h2 { margin: 2.6rem 0 .6rem; padding-top: .9rem; border-top: 2px solid #e4e7eb; font-size: 1.3rem; }
h3 { margin: 1.6rem 0 .4rem; font-size: 1.05rem; }
p.lead, p.note { color: #52606d; margin: .2rem 0 .8rem; }
p.note { font-size: .87rem; max-width: 60rem; }
div.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .87rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem .3rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid #e4e7eb; }
th { font-weight: 600; color: #52606d; white-space: nowrap; }
td { overflow-wrap: anywhere; min-width: 3.2rem; }
td.number, th.number { text-align: right; overflow-wrap: normal; white-space: nowrap; }
figure { margin: 1rem 0; }
figure img { max-width: 100%; height: auto; border: 1px solid #e4e7eb; }
div.figures { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start; }
details { margin: 1rem 0; }
summary { cursor: pointer; font-weight: 600; }
"""

Figures = Mapping[tuple[str, str], Mapping[str, bytes]]


def check_folder(folder: Path) -> None:
    """See that a report may be written there.

    Raises:
        DataError: it is a file, or holds something else than a report.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file: choose another --out.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "report.json").is_file():
        raise DataError(f"{folder} holds something that is no report: choose another --out.")


def write_report(folder: Path, evaluation: Evaluation) -> None:
    """Write report.json, report.md, report.html and figures/*.png, in place of an earlier report.

    Raises:
        OSError: it cannot be written.
    """
    figures_folder = folder / "figures"
    figures_folder.mkdir(parents=True, exist_ok=True)
    for old in figures_folder.glob("*.png"):
        old.unlink()
    figures: dict[tuple[str, str], dict[str, bytes]] = {}
    names: dict[tuple[str, str, str], str] = {}
    for model in evaluation.models:
        for task, report in model.tasks.items():
            title = f"{model.name}, {task} ({Path(evaluation.data).name})"
            drawn = draw_all(report.metrics, title=title)
            figures[model.name, task] = drawn
            for name, png in drawn.items():
                file = _file_name(f"{model.name}-{task}-{name}", taken=set(names.values()))
                names[model.name, task, name] = file
                (figures_folder / file).write_bytes(png)
    text = json.dumps(evaluation.as_json(), indent=1, ensure_ascii=False, allow_nan=False)
    (folder / "report.json").write_text(text + "\n", encoding="utf-8")
    (folder / "report.md").write_text(markdown(evaluation, figure_files=names), encoding="utf-8")
    (folder / "report.html").write_text(html_page(evaluation, figures), encoding="utf-8")


def markdown(evaluation: Evaluation, *, figure_files: Mapping[tuple[str, str, str], str]) -> str:
    """The report as Markdown; figures are files in ``figures/`` beside it."""
    lines = [f"# {_heading(evaluation)}", ""]
    for table in _summary_tables(evaluation):
        lines += [f"## {table.caption}", "", _markdown_table(table), ""]
    for model in evaluation.models:
        for task, report in model.tasks.items():
            lines += [f"## {_markdown_text(_task_heading(model, report))}", ""]
            lines += [f"{_markdown_text(_task_lead(report))}", ""]
            for table in _task_tables(report):
                lines += [f"### {table.caption}", "", _markdown_table(table), ""]
            for (owner, of_task, name), file in figure_files.items():
                if (owner, of_task) == (model.name, task):
                    lines += [f"![{FIGURE_NAMES[name]}](figures/{file})", ""]
            table = tables.classes(report)
            lines += [f"### {table.caption}", "", _markdown_table(table), ""]
    table = tables.facts(evaluation.conditions)
    lines += [f"## {table.caption}", "", _markdown_table(table), ""]
    return "\n".join(lines)


def html_page(evaluation: Evaluation, figures: Figures) -> str:
    """The report as one HTML file, its images inside: no script, no address of anything else."""
    title = html.escape(_heading(evaluation))
    body = [f"<h1>{title}</h1>", f'<p class="lead">{html.escape(_lead(evaluation))}</p>']
    for table in _summary_tables(evaluation):
        body.append(_html_table(table, level=3))
    for model in evaluation.models:
        for task, report in model.tasks.items():
            body.append(f"<h2>{html.escape(_task_heading(model, report))}</h2>")
            body.append(f'<p class="lead">{html.escape(_task_lead(report))}</p>')
            body += [_html_table(table, level=3) for table in _task_tables(report)]
            body.append('<div class="figures">')
            body += _html_figures(figures.get((model.name, task), {}))
            body.append("</div>")
            table = tables.classes(report)
            body.append(f"<details><summary>{table.caption}</summary>")
            body.append(f"{_html_table(table, level=0)}</details>")
    body.append(_html_table(tables.facts(evaluation.conditions), level=2))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _heading(evaluation: Evaluation) -> str:
    return f"Evaluation on {Path(evaluation.data).name}"


def _lead(evaluation: Evaluation) -> str:
    names = ", ".join(model.name for model in evaluation.models)
    split = f", split {evaluation.split}" if evaluation.split else ""
    return f"{names} on {evaluation.data}{split}."


def _task_heading(model: ModelReport, report: TaskReport) -> str:
    asked = report.data_task
    if report.model_task != report.data_task:
        asked = f"{report.data_task} (the model's {report.model_task})"
    return f"{model.name}: {asked}"


def _task_lead(report: TaskReport) -> str:
    metrics = report.metrics
    kind = "one label a sample" if metrics.kind == "single" else "any number of labels a sample"
    text = (
        f"{metrics.n_samples} samples in {metrics.n_groups} groups, {metrics.n_labels} labels, "
        f"{kind}."
    )
    absent = metrics.absent_labels
    if absent:
        shown = ", ".join(absent[:10]) + (" …" if len(absent) > 10 else "")
        text += f" Never true in the data, and in no mean: {len(absent)} labels ({shown})."
    return text


def _summary_tables(evaluation: Evaluation) -> Iterator[Table]:
    yield tables.overview(evaluation)
    if evaluation.comparisons:
        yield tables.comparisons(evaluation.comparisons)
    for model in evaluation.models:
        if model.folds is not None:
            yield tables.folds(model.folds)
    if any(model.size or model.cost for model in evaluation.models):
        yield tables.sizes(evaluation.models)


def _task_tables(report: TaskReport) -> Iterator[Table]:
    if report.left_out:
        yield tables.left_out(report)
    if report.parts:
        yield tables.parts(report)
    if report.senses:
        yield tables.senses(report)


def _markdown_table(table: Table) -> str:
    rows = [[_markdown_text(cell) for cell in row] for row in table.rows]
    lines = [list(table.head), ["---"] * len(table.head), *rows]
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{text}\n\n{table.note}" if table.note else text


def _markdown_text(text: str) -> str:
    """A cell or a line that shows as it is: no mark-up, no second line, no end of the cell."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))


def _html_table(table: Table, *, level: int) -> str:
    columns = zip(*table.rows, strict=True) if table.rows else ((" ",) for _ in table.head)
    sorts = [' class="number"' if all(map(_is_number, column)) else "" for column in columns]

    def line(cells: tuple[str, ...], tag: str) -> str:
        return "".join(
            f"<{tag}{sort}>{html.escape(cell)}</{tag}>"
            for cell, sort in zip(cells, sorts, strict=True)
        )

    rows = "\n".join(f"<tr>{line(row, 'td')}</tr>" for row in table.rows)
    heading = f"<h{level}>{html.escape(table.caption)}</h{level}>" if level else ""
    note = f'<p class="note">{html.escape(table.note)}</p>' if table.note else ""
    return (
        f'{heading}<div class="scroll"><table><thead><tr>{line(table.head, "th")}</tr></thead>'
        f"<tbody>\n{rows}\n</tbody></table></div>{note}"
    )


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"|–|[<+-]? ?[\d.]+( \[[^]]*\]| ± [\d.]+| / [\d.]+)?", cell) is not None


def _html_figures(figures: Mapping[str, bytes]) -> Iterator[str]:
    for name, png in figures.items():
        data = base64.b64encode(png).decode("ascii")
        caption = html.escape(FIGURE_NAMES[name])
        yield f'<figure><img alt="{caption}" src="data:image/png;base64,{data}"></figure>'


def _file_name(name: str, *, taken: set[str]) -> str:
    """A file name that says what it is, whatever signs a label set or a path holds."""
    stem = re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("._-") or "figure"
    candidate, count = f"{stem}.png", 1
    while candidate in taken:
        count += 1
        candidate = f"{stem}-{count}.png"
    return candidate
