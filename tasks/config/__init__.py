"""What users configure: data sets, recipes, and where to find them."""
