"""From a loaded pipeline to pictures: samplers, methods, prompt weighting, tiling."""
