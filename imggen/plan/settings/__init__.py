"""Settings from presets, config files and the environment, and the names of output files."""
