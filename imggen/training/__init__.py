"""Training: autoencoder and diffusion, one loop."""
