"""The built-in model and its card."""
