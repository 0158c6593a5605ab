"""Golden files of everything that is rendered; ``REPOBUILD_GOLDEN=write pytest tests/golden`` writes them anew."""
