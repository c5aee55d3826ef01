"""The doctor: what it finds, and how it says to mend it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sightsound.pipeline.config import Config, load_config
from sightsound.pipeline.doctor import Finding, examine


def decoders(config: Config) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine(config) if finding.area == "decoders"}


def test_every_decoder_is_listed_and_the_chosen_one_marked() -> None:
    found = decoders(Config())
    assert {"pyav", "decord", "torchcodec"} <= set(found)
    assert found["pyav"].state == "ok"
    assert "libavcodec" in found["pyav"].detail
    assert "chosen" in found["pyav"].detail
    assert "chosen" not in found["decord"].detail


@pytest.mark.parametrize(("chosen", "state"), [("pyav", "note"), ("decord", "missing")])
def test_a_decoder_that_does_not_load_is_missing_only_where_it_is_chosen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, chosen: str, state: str
) -> None:
    (tmp_path / "decord.py").write_text("raise OSError('libavcodec.so.58: not found')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "decord", raising=False)
    finding = decoders(load_config(settings=(f"decode.backend={chosen}",)))["decord"]
    assert finding.state == state
    assert "libavcodec.so.58: not found" in finding.detail
    assert bool(finding.remedy) == (state == "missing")
