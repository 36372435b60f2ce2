"""Tests with models that are too large for every run: ``make test-models``."""
