"""A diffusers pipeline as the plan wants it: loaded, placed, quantized, converted, encoding and decoding."""
