"""What needs torch and diffusers to make a picture."""
