"""How steps run: cached, logged, in a workspace, with parts that may fail."""
