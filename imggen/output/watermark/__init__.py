"""The mark in the pixels: made, found and read, and the label that is seen."""
