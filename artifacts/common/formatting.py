"""Numbers as people read them: a share is a percentage, and a difference of shares is in points."""

from tasks.schemas.findings import SIGNIFICANT, Estimate, Share, Slice

FEW = 3  # models, of which every pair has its sentence and its columns
_SMALLEST_P = 0.0001  # smaller ones are not told apart
UNDEFINED = "–"  # a measure that the data leave undefined
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


def percent(value: float, digits: int = 2) -> str:
    """A share as a percentage, with a space before the sign as in print."""
    return f"{100 * value:.{digits}f} %"


def rate(share: Share, digits: int = 2) -> str:
    """A share as a percentage, where it is one of anything."""
    return percent(share.value, digits) if share.known else UNDEFINED


def interval(share: Share | Estimate, digits: int = 2) -> str:
    """The interval of a share, in percent."""
    if isinstance(share, Share) and not share.known:
        return UNDEFINED
    return f"{100 * share.low:z.{digits}f} to {100 * share.high:z.{digits}f}"


def estimate(found: Estimate, digits: int = 4) -> str:
    """A figure with its interval."""
    return f"{found.value:.{digits}f} ({found.low:.{digits}f} to {found.high:.{digits}f})"


def p_value(p: float, *, sign: bool = False) -> str:
    """A p-value with two digits that count; in a sentence, with its sign of equality."""
    return f"{'= ' if sign else ''}{p:.2g}" if p >= _SMALLEST_P else f"< {_SMALLEST_P:.4f}"


def range_of(part: Slice, *, unit: bool = True) -> str:
    """The range of a slice."""
    digits = 0 if part.low == int(part.low) and part.high == int(part.high) else 1
    low, high = f"{part.low:.{digits}f}", f"{part.high:.{digits}f}"
    return (low if low == high else f"{low} to {high}") + (UNITS[part.feature] if unit else "")


def significant(p: float) -> str:
    """A corrected p-value as a word, for those who read no p-values."""
    return "yes" if p < SIGNIFICANT else "within error"
