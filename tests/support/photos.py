"""Simulate phone photos of handwriting from MNIST's test digits: desks, shadows, ruled paper, and no digit at all.

Each photo is drawn from a seed. Paper, light, noise, blur and JPEG are the same for all kinds; only the disturbance differs.
`python -m tests.support.photos ROOT FOLDER [EACH [SEED]]` writes EACH photos of every kind into the folder, classifies them
with `mnist predict`, and prints how many are classified correctly, doubtful or rejected, and misclassified without a warning.
"""

import io
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from tests.support import data

WIDE, HIGH = 640, 480
Levels = NDArray[np.float64]
Rng = np.random.Generator


class Photo(NamedTuple):
    """A photo as a JPEG file; `label` is None if no prediction is correct."""

    content: bytes
    label: int | None


def polygon(points: list[tuple[float, float]], soft: float = 0.8) -> Levels:
    """Draw a filled polygon: 1 inside, 0 outside, with an edge of `soft` pixels."""
    image = Image.new("L", (WIDE, HIGH))
    ImageDraw.Draw(image).polygon(points, 255)
    return np.asarray(image.filter(ImageFilter.GaussianBlur(soft)), np.float64) / 255


def turned(rng: Rng, width: float, height: float, most: float = 8) -> list[tuple[float, float]]:
    """Return the corners of a sheet around the center, rotated by up to `most` degrees."""
    angle = np.radians(rng.uniform(-most, most))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = np.array([[-width, -height], [width, -height], [width, height], [-width, height]]) / 2
    shifted = corners @ turn.T + [WIDE / 2, HIGH / 2] + rng.uniform(-10, 10, 2)
    return [(float(x), float(y)) for x, y in shifted]


def lines(rng: Rng, gap: float, *, both: bool, width: int = 2) -> Levels:
    """Draw the lines of ruled paper as 1, rotated by up to two degrees; with `both`, of squared paper."""
    image = Image.new("L", (2 * WIDE, 2 * WIDE))
    draw = ImageDraw.Draw(image)
    for place in np.arange(rng.uniform(0, gap), 2 * WIDE, gap):
        draw.line([(0, place), (2 * WIDE, place)], 255, width)
        if both:
            draw.line([(place, 0), (place, 2 * WIDE)], 255, width)
    image = image.rotate(rng.uniform(-2, 2), Image.Resampling.BICUBIC)
    left, top = WIDE // 2, WIDE - HIGH // 2
    return np.asarray(image.crop((left, top, left + WIDE, top + HIGH)), np.float64) / 255


def ink(rng: Rng, digits: list[NDArray[np.uint8]], size: tuple[int, int] = (170, 280)) -> Levels:
    """Place digits side by side around the center, with 1 on the strokes."""
    edge = int(rng.integers(*size)) if len(digits) == 1 else int(rng.integers(130, 190))
    step = int(0.8 * edge)
    page = Image.new("L", (WIDE, HIGH))
    left = (WIDE - step * (len(digits) - 1) - edge) // 2 + int(rng.integers(-25, 26))
    top = (HIGH - edge) // 2 + int(rng.integers(-25, 26))
    for place, digit in enumerate(digits):
        large = Image.fromarray(digit).resize((edge, edge), Image.Resampling.BICUBIC)
        # As sharp as a pen: keep the middle third of the soft slopes of the enlarged image.
        sharp = large.point(lambda level: int(min(255, max(0, (level - 85) * 3))))
        page.paste(255, (left + place * step, top), sharp)
    return np.asarray(page, np.float64) / 255


def grain(rng: Rng) -> Levels:
    """Draw a wooden surface, with values around 1."""
    rows = rng.normal(0, 0.12, (HIGH // 4, 4))
    image = Image.fromarray(rows).resize((WIDE, HIGH), Image.Resampling.BICUBIC)
    return 1 + np.asarray(image, np.float64)


def taken(rng: Rng, levels: Levels) -> bytes:
    """Render the photo: uneven light, blur, noise, JPEG."""
    across, down = np.meshgrid(np.linspace(-1, 1, WIDE), np.linspace(-1, 1, HIGH))
    light = 1 + rng.uniform(-0.08, 0.08) * across + rng.uniform(-0.08, 0.08) * down
    noisy = np.clip(levels * light + rng.normal(0, 2.5, levels.shape), 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noisy).filter(ImageFilter.GaussianBlur(0.7)).convert("RGB").save(stream, "JPEG", quality=88)
    return stream.getvalue()


PAPER, DESK, PEN, PENCIL, RULE = 222.0, 70.0, 45.0, 120.0, 175.0


def written(strokes: Levels, paper: Levels | float = PAPER, level: float = PEN) -> Levels:
    """Draw strokes on paper; ink absorbs a fraction of the light."""
    return np.asarray(paper * (1 - strokes * (1 - level / PAPER)))


def sheet(rng: Rng, page: Levels, desk: Levels | float = DESK, most: float = 8) -> Levels:
    """Place a page on a desk that is visible on all sides."""
    inside = polygon(turned(rng, 0.84 * WIDE, 0.84 * HIGH, most))
    return page * inside + desk * (1 - inside)


def beside(rng: Rng, page: Levels) -> Levels:
    """Place a page on a desk that is visible on one or two sides."""
    slant = rng.uniform(-30, 30)
    corner = [(-9, -9), (rng.uniform(40, 90) + slant, -9), (rng.uniform(40, 90) - slant, HIGH + 9), (-9, HIGH + 9)]
    inside = 1 - polygon(corner)
    if rng.random() < 0.5:
        inside *= 1 - polygon([(-9, HIGH + 9), (-9, HIGH - 30), (WIDE + 9, HIGH - 50), (WIDE + 9, HIGH + 9)])
    return page * inside + DESK * (1 - inside)


def half_shadow(rng: Rng, page: Levels) -> Levels:
    """Draw a shadow with a straight edge across the digit."""
    x, slant = rng.uniform(0.35, 0.65) * WIDE, rng.uniform(-200, 200)
    return page * (
        1 - rng.uniform(0.35, 0.6) * polygon([(-9, -9), (x + slant, -9), (x - slant, HIGH + 9), (-9, HIGH + 9)])
    )


def corner_shadow(rng: Rng, page: Levels) -> Levels:
    """Draw the shadow of a phone in a corner."""
    x, y = rng.uniform(0.25, 0.5) * WIDE, rng.uniform(0.3, 0.5) * HIGH
    points = [(-9, HIGH + 9), (-9, HIGH - y), (x, HIGH - 0.8 * y), (x * 1.1, HIGH + 9)]
    return page * (1 - rng.uniform(0.35, 0.6) * polygon(points, 2))


def hand_shadow(rng: Rng, page: Levels) -> Levels:
    """Draw the round shadow of a head or a hand."""
    image = Image.new("L", (WIDE, HIGH))
    x, y, radius = rng.uniform(0.6, 1) * WIDE, rng.uniform(0.7, 1.1) * HIGH, rng.uniform(150, 260)
    ImageDraw.Draw(image).ellipse((x - radius, y - radius, x + radius, y + radius), 255)
    return page * (
        1 - rng.uniform(0.35, 0.55) * np.asarray(image.filter(ImageFilter.GaussianBlur(2)), np.float64) / 255
    )


def ruled(rng: Rng, *, both: bool = False, level: float = RULE, width: int = 2) -> Levels:
    """Draw a ruled or squared page."""
    gap = rng.uniform(26, 40) if both else rng.uniform(45, 80)
    return PAPER - (PAPER - level) * lines(rng, gap, both=both, width=width)


def margin(page: Levels) -> Levels:
    """Add a margin line."""
    page = page.copy()
    page[:, 90:93] = 130
    return page


def framed(page: Levels) -> Levels:
    """Draw a box around the digit, as on forms."""
    page = page.copy()
    for at in (slice(30, 34), slice(446, 450)):
        page[at, 60:580] = 60
    for at in (slice(60, 64), slice(576, 580)):
        page[30:450, at] = 60
    return page


ONE: dict[str, Callable[[Rng, Levels], Levels]] = {
    "plain, pen": lambda _, s: written(s),
    "plain, pencil": lambda _, s: written(s, level=PENCIL),
    "white on black": lambda _, s: 35 + 190 * s,
    "dark desk": lambda r, s: sheet(r, written(s)),
    "dark desk, pencil": lambda r, s: sheet(r, written(s, level=PENCIL)),
    "wooden desk": lambda r, s: sheet(r, written(s), 90 * grain(r)),
    "desk at the side": lambda r, s: beside(r, written(s)),
    "light desk": lambda r, s: sheet(r, written(s, 190), 245),
    "straight shadow": lambda r, s: half_shadow(r, written(s)),
    "shadow in a corner": lambda r, s: corner_shadow(r, written(s)),
    "round shadow": lambda r, s: hand_shadow(r, written(s)),
    "shadow, pencil": lambda r, s: half_shadow(r, written(s, level=PENCIL)),
    "ruled, pen": lambda r, s: written(s, ruled(r)),
    "ruled, pencil": lambda r, s: written(s, ruled(r), PENCIL),
    "ruled darkly, pencil": lambda r, s: written(s, ruled(r, level=125), PENCIL),
    "squared, pen": lambda r, s: written(s, ruled(r, both=True)),
    "squared, pencil": lambda r, s: written(s, ruled(r, both=True), PENCIL),
    "squared darkly, pencil": lambda r, s: written(s, ruled(r, both=True, level=125), PENCIL),
    "ruled, with margin": lambda r, s: written(s, margin(ruled(r)), 70),
    "in a box": lambda _, s: framed(written(s)),
    "desk and shadow": lambda r, s: sheet(r, half_shadow(r, written(s))),
    "desk and ruled": lambda r, s: sheet(r, written(s, ruled(r), 80)),
    "shadow and squared": lambda r, s: half_shadow(r, written(s, ruled(r, both=True), 80)),
}  # fmt: skip
NONE: dict[str, Callable[[Rng, Levels], Levels]] = {
    "blank": lambda _, s: written(0 * s),
    "blank, ruled": lambda r, _: ruled(r),
    "blank, squared": lambda r, _: ruled(r, both=True),
    "blank, dark desk": lambda r, s: sheet(r, written(0 * s)),
    "blank, shadow": lambda r, s: half_shadow(r, written(0 * s)),
    "blank, round shadow": lambda r, s: hand_shadow(r, written(0 * s)),
}
TWO: dict[str, Callable[[Rng, Levels], Levels]] = {
    "two digits": ONE["plain, pen"],
    "two digits, dark desk": ONE["dark desk"],
    "two digits, squared": ONE["squared, pen"],
}
KINDS = (*ONE, *NONE, *TWO)


def photos(kind: str, each: int, seed: int = 0) -> Iterator[Photo]:
    """Create photos of one kind, each from a different test digit of MNIST."""
    images, labels = (data.first(name, 10 * each + 10) for name in data.NAMES["test"])
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    chosen = [int(np.flatnonzero(labels == number % 10)[number // 10]) for number in range(each)]
    for number, index in enumerate(chosen):
        if kind in ONE:
            yield Photo(taken(rng, ONE[kind](rng, ink(rng, [images[index]]))), int(labels[index]))
        elif kind in NONE:
            yield Photo(taken(rng, NONE[kind](rng, np.zeros((HIGH, WIDE)))), None)
        else:
            pair = [images[index], images[chosen[number - 1]]]
            yield Photo(taken(rng, TWO[kind](rng, ink(rng, pair))), None)


def write(folder: Path, each: int, seed: int) -> dict[str, tuple[str, int | None]]:
    """Write photos of all kinds into a folder; return the kind and the label of each by file name."""
    folder.mkdir(parents=True, exist_ok=True)
    known = {}
    for kind in KINDS:
        for number, photo in enumerate(photos(kind, each, seed)):
            name = f"{kind.replace(', ', '-').replace(' ', '-')}-{number:02}.jpg"
            (folder / name).write_bytes(photo.content)
            known[name] = kind, photo.label
    return known


def main(root: str, folder: str, each: str = "10", seed: str = "0") -> None:
    """Classify the photos, and print a line for each kind and model."""
    known = write(Path(folder), int(each), int(seed))
    names = [Path(folder, name) for name in known]
    command = [Path(sys.executable).with_name("mnist"), "predict", *names, "--root", root, "--json"]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
    answers = {Path(one["path"]).name: one for one in found["pictures"]}
    for model in found["pictures"][0]["guesses"]:
        total: Counter[str] = Counter()
        for kind in KINDS:
            counts = Counter(
                judged(answers.get(name), model, label) for name, (its_kind, label) in known.items() if its_kind == kind
            )
            print(f"{model}, {kind}: {said(counts)}")  # noqa: T201
            total += counts
        print(f"{model}, all: {said(total)}")  # noqa: T201


def judged(answer: dict[str, Any] | None, model: str, label: int | None) -> str:
    """Return how a user would interpret a prediction."""
    if answer is None or answer.get("doubts"):
        return "doubtful or refused"
    return "right" if answer["guesses"][model]["label"] == str(label) else "wrong without a warning"


def said(counts: Counter[str]) -> str:
    """Return counts as text."""
    return ", ".join(f"{counts[what]} {what}" for what in ("right", "doubtful or refused", "wrong without a warning"))


if __name__ == "__main__":
    main(*sys.argv[1:])
