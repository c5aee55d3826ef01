"""Errors of explanations: what was asked wrongly, and what cannot be explained."""

from __future__ import annotations


class ExplainError(Exception):
    """Nothing can be explained here; the message is one sentence that says why."""


class ExplainUsageError(ExplainError):
    """What was asked for does not exist: a moment, a task or a label."""
