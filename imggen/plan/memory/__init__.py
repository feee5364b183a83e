"""What a run needs in memory and which dtype and memory savers it gets."""
