"""Tests that break the world."""
