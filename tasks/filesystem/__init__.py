"""Operating-system files: open, trust, hash and name them."""
