"""What files say about pictures, in the dialects of imggen and of other programs."""
