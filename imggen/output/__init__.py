"""Files: metadata, containers, the writer."""
