"""How pictures are upscaled: from a request to a plan without blanks."""
