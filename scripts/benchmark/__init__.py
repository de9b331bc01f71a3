"""Measures the pipeline and judges what it finds; `scripts/bench` is the command."""
