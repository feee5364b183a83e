"""The pictures that imggen draws itself, with their captions."""
