"""Files under a root, in a folder or in a bucket: write, verify, lock and name them."""
