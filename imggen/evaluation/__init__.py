"""Judging pictures."""
