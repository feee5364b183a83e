"""Sizes in pixels: targets, canvases, borders, and what a model can draw."""
