"""Files of the operating system: open, trust, hash and name them."""
