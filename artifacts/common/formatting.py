"""Format numbers and comparisons for reading, and estimate how wide a text is.

Shares are formatted as percentages, and their differences in percentage points.
"""

import re

from tasks.schemas.findings import SIGNIFICANT, Estimate, Share, Slice

FEW = 3  # up to this many models, each pair gets its own sentence and columns
_SMALLEST_P = 0.0001  # smaller p-values are shown as an upper bound
UNDEFINED = "–"  # shown for a value that is undefined for the data
UNITS = {
    "ink": " %",
    "stroke width": " px",
    "slant": "°",
    "height": " px",
    "width": " px",
    "components": "",
    "brightness": " %",
    "contrast": " %",
    "saturation": " %",
}
_LOCAL_FOLDERS = re.compile(r"file://\S*/(?=[^/\s]+/[^/\s]+)")  # all of a file URL up to its last two parts


def percent(value: float, digits: int = 2) -> str:
    """Return a share as a percentage, with a space before the percent sign.

    Examples:
        >>> percent(0.9834)
        '98.34 %'
        >>> percent(-0.00001)  # never -0.00
        '0.00 %'
    """
    return f"{100 * value:z.{digits}f} %"


def probability(value: float, digits: int = 2) -> str:
    """Return a model's probability as a percentage; no model is certain, so 0 and 1 are never shown.

    Examples:
        >>> probability(0.9834), probability(1.0), probability(0.00001)
        ('98.34 %', '>99.99 %', '<0.01 %')
        >>> probability(0.9996, 1), probability(0.999, 0)
        ('>99.9 %', '>99 %')
    """
    step = 10.0**-digits
    shown = round(100 * value, digits)
    if 0 < shown < 100:
        return percent(value, digits)
    return f"<{step:.{digits}f} %" if shown <= 0 else f">{100 - step:.{digits}f} %"


def rate(share: Share) -> str:
    """Return a share as a percentage, or a dash if the share is undefined."""
    return percent(share.value) if share.known else UNDEFINED


def interval(share: Share | Estimate, digits: int = 2) -> str:
    """Return the confidence interval of a share in percent, or a dash if the share is undefined."""
    if isinstance(share, Share) and not share.known:
        return UNDEFINED
    return f"{100 * share.low:z.{digits}f} to {100 * share.high:z.{digits}f}"


def interval_of_difference(difference: Estimate, digits: int = 2) -> str:
    """Return the confidence interval of a difference of shares in percentage points, each bound with its sign."""
    return f"{100 * difference.low:+z.{digits}f} to {100 * difference.high:+z.{digits}f}"


def with_interval(share: Share | Estimate) -> str:
    """Return a share as a percentage, with its confidence interval."""
    return f"{percent(share.value)} (95 % interval {interval(share)})"


def verdict_on(first: str, second: str, difference: Estimate, evidence: str, *, significant: bool) -> str:
    """Return the sentence that says whether the second of two models is better than the first, with the evidence.

    The p-value alone decides. If the interval of the difference does not agree, because it comes from another method and
    is not corrected for several tests, the sentence says so.
    """
    excludes = difference.low > 0 or difference.high < 0
    found = f"{difference.points} {evidence}"
    if significant:
        known = f"{second} is {'better' if difference.value > 0 else 'worse'} than {first}: {found}"
        return f"{known}." if excludes else f"{known}; the interval includes 0, but the p-value decides."
    if excludes:
        known = f"The difference between {first} and {second} is not significant: {second} {found}"
        return f"{known}; the interval excludes 0, but the p-value decides."
    return f"The difference between {first} and {second} is within error: {second} {found}."


def estimate(found: Estimate) -> str:
    """Return an estimate with its confidence interval."""
    return f"{found.value:z.4f} ({found.low:z.4f} to {found.high:z.4f})"


def p_value(p: float, *, sign: bool = False) -> str:
    """Return a p-value with two significant digits; with `sign`, preceded by its equals sign.

    Examples:
        >>> p_value(0.00641), p_value(0.0000012)
        ('0.0064', '< 0.0001')
    """
    return f"{'= ' if sign else ''}{p:.2g}" if p >= _SMALLEST_P else f"< {_SMALLEST_P:.4f}"


def range_of(part: Slice, *, unit: bool = True) -> str:
    """Return the range of a slice, with the unit of its feature if `unit` is true."""
    digits = _digits_of(part.low, part.high)
    low, high = f"{part.low:z.{digits}f}", f"{part.high:z.{digits}f}"
    return (low if low == high else f"{low} to {high}") + (UNITS[part.feature] if unit else "")


def _digits_of(low: float, high: float) -> int:
    """Return the number of decimals of a slice's range: enough that no other slice has the same name.

    Ranges that do not overlap have different names if both ends of each range differ. A single value has few digits,
    but is not rounded to zero.
    """
    if low == int(low) and high == int(high):
        return 0
    if low == high:
        return next((digits for digits in range(1, 7) if abs(round(low, digits) - low) <= abs(low) / 200), 7)
    return next((digits for digits in range(1, 7) if round(low, digits) != round(high, digits)), 7)


def significant(p: float) -> str:
    """Return whether a corrected p-value is significant as a word, for readers who are not used to p-values."""
    return "yes" if p < SIGNIFICANT else "no"


def counted(number: int, noun: str) -> str:
    """Return a count with its noun, in the singular or the plural.

    Examples:
        >>> counted(1, "seed"), counted(10_000, "image")
        ('1 seed', '10,000 images')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def breadth(text: str, size: float, *, bold: bool = False) -> float:
    """Return an upper bound of the width of a text in pixels.

    The bound is that of DejaVu Sans, the widest font that may replace the named fonts.
    """
    narrow, broad = len(re.findall(r"[ .,:;!'|ijlI()\[\]]", text)), len(re.findall(r"[mwMW@%×]", text))
    wide = len(re.findall(r"[^\x00-\u024f×]", text))  # wide characters, such as Chinese
    usual = len(text) - narrow - broad - wide
    return size * (0.36 * narrow + 0.62 * usual + 0.92 * broad + 1.05 * wide) * (1.1 if bold else 1)


def without_local_folders(text: str) -> str:
    """Return a text with the folders of this machine removed from its file URLs, except the last one."""
    return _LOCAL_FOLDERS.sub("file:…/", text)
