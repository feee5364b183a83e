"""Image formats byte by byte: where each keeps its metadata and how it is replaced."""
