"""What models are: families, signatures, single files, samplers."""
