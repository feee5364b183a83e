"""How pictures are generated and changed: from a request to a plan without blanks."""
