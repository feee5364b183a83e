"""What adapters are and which models they fit, by names and shapes alone."""
