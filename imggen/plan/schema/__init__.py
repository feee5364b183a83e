"""The types and small rules that all decisions share: requests, families, recipes, seeds, prompts."""
