"""Users' pictures: opened, checked and brought to the pixels that the plan wants."""
