"""Explanations: which sense, which moments and which regions made a label."""
