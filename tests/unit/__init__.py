"""Tests that need no tools and no network."""
