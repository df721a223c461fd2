"""Define what users configure: datasets, recipes, and the TOML files that describe them."""
