"""Decisions: pure, typed, standard library only."""
