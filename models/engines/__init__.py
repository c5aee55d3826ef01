"""Inference engines: torch and OpenVINO behind one interface."""
