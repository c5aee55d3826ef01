"""What is refused before any features are extracted."""

from __future__ import annotations

import shutil

import pytest

from sightsound.models.bundle import bundle_path
from sightsound.models.errors import ModelError
from sightsound.pipeline.training.extract import extract_features
from sightsound.pipeline.training.recipe import load_recipe
from sightsound.pipeline.training.records import Dataset


def test_two_networks_whose_tokens_could_not_be_told_apart_are_refused(tmp_path):
    trained = bundle_path("default") / "visual.safetensors"
    paths = [shutil.copy(trained, tmp_path / f"{name}.safetensors") for name in "ab"]
    names = ", ".join(f"'efficientnet_lite0:{path}'" for path in paths)
    recipe = load_recipe(settings=[f"visual=[{names}]"])
    with pytest.raises(ModelError, match="share a name"):
        extract_features(Dataset(tasks=(), samples=()), recipe, cache=tmp_path, n_processes=1)
