"""Reports on disk."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from sightsound.pipeline.evaluation.compare import compare_all
from sightsound.pipeline.evaluation.evaluation import Evaluation
from sightsound.pipeline.evaluation.intervals import bootstrap_intervals
from sightsound.pipeline.evaluation.metrics import measure
from sightsound.pipeline.evaluation.report import check_folder, write_report
from sightsound.pipeline.evaluation.results import LeftOut, ModelReport, TaskReport
from sightsound.pipeline.training.records import DataError

HOSTILE = '<script>alert("1")</script> | [x](http://a.b) `c`'


class Elements(HTMLParser):
    """Every element with its attributes, and the text between them."""

    def __init__(self, page):
        super().__init__()
        self.found, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def evaluation(make_predictions):
    by_model = {}
    for seed, name in enumerate(("first", HOSTILE)):
        made = make_predictions(n_labels=6, seed=seed)
        by_model[name] = replace(made, labels=(HOSTILE, *made.labels[1:]))
    models = tuple(
        ModelReport(
            name=name,
            model_id="0",
            tasks={
                "label": TaskReport(
                    data_task="label",
                    model_task="action",
                    metrics=measure(made),
                    intervals=bootstrap_intervals(made, n_resamples=20, seed=0),
                    left_out=(LeftOut(reason=HOSTILE, n_samples=30, samples=("a", "b")),),
                )
            },
        )
        for name, made in by_model.items()
    )
    return Evaluation(
        data="data/clips.csv",
        split="test",
        seed=0,
        n_resamples=20,
        models=models,
        comparisons=compare_all(by_model, n_resamples=20, seed=0),
        conditions={"rows": 60},
    )


@pytest.fixture(scope="module")
def folder(evaluation, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    write_report(folder, evaluation)
    return folder


def test_json_sums_up_the_first_model_and_holds_all(folder, evaluation):
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    first = evaluation.models[0].tasks["label"].metrics
    assert report["tasks"]["label"]["accuracy"] == first.accuracy
    assert list(report["models"]) == ["first", HOSTILE]
    whole = report["models"]["first"]["tasks"]["label"]["metrics"]
    assert len(whole["classes"]) == 6
    assert len(report["comparisons"]) == 1


def test_page_asks_for_nothing_from_anywhere(folder):
    page = (folder / "report.html").read_text(encoding="utf-8")
    elements = Elements(page)
    tags = {tag for tag, _ in elements.found}
    assert tags.isdisjoint({"script", "link", "iframe", "object", "a", "b", "base", "form"})
    for tag, attributes in elements.found:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "srcset", "style", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith("data:image/png;base64,"), tag
    assert "url(" not in page and "@import" not in page


def test_page_shows_labels_and_names_as_they_are(folder):
    text = Elements((folder / "report.html").read_text(encoding="utf-8")).text
    assert text.count(HOSTILE) >= 3


def test_page_has_all_figures_inside(folder):
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/png;base64,iVBOR') == 8


def test_markdown_shows_hostile_labels_as_text(folder):
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert r"\<script\>" in text and "<script>" not in text
    assert "](http" not in text.replace(r"\]", "")
    widths = {line.count("|") - line.count(r"\|") for line in text.splitlines() if "alert" in line}
    assert widths <= {0, 4, 9, 10, 13}


def test_markdown_shows_every_figure(folder):
    text = (folder / "report.md").read_text(encoding="utf-8")
    named = re.findall(r"\]\(figures/([^)]+)\)", text)
    assert sorted(named) == sorted(file.name for file in (folder / "figures").iterdir())
    assert len(named) == 8


def test_second_report_replaces_the_figures_of_the_first(folder, evaluation):
    (folder / "figures" / "old.png").write_bytes(b"")
    write_report(folder, evaluation)
    assert not (folder / "figures" / "old.png").exists()


def test_folder_with_something_else_is_not_written_to(tmp_path, folder):
    check_folder(folder)
    check_folder(tmp_path / "new")
    (tmp_path / "photo.jpg").write_bytes(b"1")
    with pytest.raises(DataError, match="holds something that is no report"):
        check_folder(tmp_path)
    with pytest.raises(DataError, match="is a file"):
        check_folder(tmp_path / "photo.jpg")
