"""Classify handwriting that is not from MNIST with `mnist predict`: scikit-learn's digits.

The digits are images of 8 x 8 pixels, written by 43 people.

Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository.

The arguments are the root of a run on MNIST and a folder for the images. The exit code is 1 if a model's accuracy is
too low.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

MNIST = Path(sys.executable).with_name("mnist")
COUNT = 1000
LEAST = 0.80  # digits of 8 x 8 pixels are hard to read even for people


def main(root: str, folder: str) -> int:
    """Write the images, classify them, print each model's accuracy, and return the exit code."""
    digits = load_digits()
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    for number, (image, label) in enumerate(zip(digits.images[:COUNT], digits.target[:COUNT], strict=True)):
        paper = 255 - np.rint(image * 255 / 16).astype(np.uint8)
        framed = np.pad(paper, 2, constant_values=255)
        Image.fromarray(framed).resize((96, 96), Image.Resampling.BICUBIC).save(place / f"{label}-{number:04}.png")
    (place / "not-a-picture.png").write_bytes(b"hello")
    done = subprocess.run(
        [MNIST, "predict", place, "--root", root, "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "1 of 1001 images skipped" in done.stderr, done.stderr
    found = json.loads(done.stdout)
    enough = True
    for model in found["pictures"][0]["guesses"]:
        right = np.mean([Path(one["path"]).name[0] == one["guesses"][model]["label"] for one in found["pictures"]])
        print(f"{model}: {right:.1%} of {len(found['pictures']):,} digits of other people, 8 x 8 pixels")  # noqa: T201
        enough &= bool(right >= LEAST)
    print(found["page"])  # noqa: T201
    return int(not enough)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
