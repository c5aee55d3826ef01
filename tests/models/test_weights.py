"""Weights: the order in which they are looked for, and the proof of what was found."""

import hashlib

import pytest

from sightsound.models.backbones.efficientnet import LITE0_WEIGHTS
from sightsound.models.errors import WeightsCorruptError, WeightsNotFoundError
from sightsound.models.weights import WeightFile

CONTENT = b"weights"
FILE = WeightFile(file="w.bin", sha256=hashlib.sha256(CONTENT).hexdigest())


def test_folder_of_the_variable_comes_before_the_package(tmp_path, monkeypatch):
    (tmp_path / LITE0_WEIGHTS.file).write_bytes(b"other")
    monkeypatch.setenv("SIGHTSOUND_WEIGHTS", str(tmp_path))
    assert LITE0_WEIGHTS.find() == tmp_path / LITE0_WEIGHTS.file


def test_package_carries_the_default_visual_weights(monkeypatch):
    monkeypatch.delenv("SIGHTSOUND_WEIGHTS", raising=False)
    assert LITE0_WEIGHTS.path().name == LITE0_WEIGHTS.file


def test_missing_file_is_named_with_what_to_do(monkeypatch):
    monkeypatch.delenv("SIGHTSOUND_WEIGHTS", raising=False)
    with pytest.raises(WeightsNotFoundError, match=r"w\.bin was not found.*SIGHTSOUND_WEIGHTS"):
        FILE.path()


def test_other_content_under_the_right_name_is_refused(tmp_path, monkeypatch):
    (tmp_path / "w.bin").write_bytes(b"something else")
    monkeypatch.setenv("SIGHTSOUND_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsCorruptError, match="not the expected"):
        FILE.path()


def test_right_content_is_accepted(tmp_path, monkeypatch):
    (tmp_path / "w.bin").write_bytes(CONTENT)
    monkeypatch.setenv("SIGHTSOUND_WEIGHTS", str(tmp_path))
    assert FILE.path() == tmp_path / "w.bin"
