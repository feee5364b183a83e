"""Networks that look at pictures to tell what is in them."""
