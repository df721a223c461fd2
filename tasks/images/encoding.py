"""The bytes of an image: as text, and which of them count as drawn."""

INK = 64  # the least value of a pixel that does: low enough for faint dirt, high enough to leave blurred edges out
