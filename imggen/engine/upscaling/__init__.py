"""Upscalers: their files, their networks, and the tiles they are run in."""
