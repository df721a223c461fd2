"""Functions of images: read, alter, measure, erase."""
