"""A picture that shows how it was turned, cut and scaled."""

import numpy as np
from PIL import Image


def pixels(image):
    return [tuple(each) for row in np.asarray(image).tolist() for each in row]


def quadrants(size=(8, 6)):
    """Four plain colours, so that turns and mirrors show."""
    image = Image.new("RGB", size)
    half = size[0] // 2, size[1] // 2
    corners = {(0, 0): (250, 20, 20), (1, 0): (20, 250, 20), (0, 1): (20, 20, 250), (1, 1): (240, 240, 30)}
    for (x, y), colour in corners.items():
        image.paste(colour, (x * half[0], y * half[1], (x + 1) * half[0], (y + 1) * half[1]))
    return image
