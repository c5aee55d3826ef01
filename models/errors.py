"""Errors of the models package. Each message says what, where, and what to do."""

from __future__ import annotations


class ModelError(Exception):
    """Base of everything that goes wrong with models, bundles and engines."""


class WeightsNotFoundError(ModelError):
    """A weight file is in none of the places where it is looked for."""


class WeightsCorruptError(ModelError):
    """A weight file was found, but is not the file it should be."""


class BundleError(ModelError):
    """A bundle is missing, incomplete or of a format this version cannot read."""


class EngineError(ModelError):
    """An inference engine cannot be had here or cannot run a network."""


class FusionError(ModelError):
    """A method of fusion, one of its sizes or the name of a task cannot be used."""


class UnknownBackboneError(ModelError):
    """There is no backbone of this name, or none that this version can use."""
