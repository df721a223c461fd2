"""Describe the processor of this machine, because the kernels that libraries choose for it round differently."""

import functools
import platform
import re
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
# The instruction sets by which NumPy, OpenBLAS and oneDNN choose their kernels.
_VECTOR_FEATURES = re.compile(r"sse4_[12]|fma|avx\w*|amx_\w+|asimd\w*|sve\w*|bf16|i8mm")


@functools.cache
def processor() -> str:
    """Return the name of the processor, followed by its vector instructions in parentheses where Linux lists them."""
    try:
        text = _CPUINFO.read_text(errors="replace")
    except OSError:  # another system than Linux
        return platform.processor() or platform.machine()
    return describe_cpuinfo(text)


def describe_cpuinfo(text: str) -> str:
    """Return the name and the vector instructions of the first processor in a text in the format of /proc/cpuinfo."""
    lines = [line.partition(":") for line in text.split("\n\n", maxsplit=1)[0].splitlines()]
    fields = {name.strip(): value.strip() for name, _, value in lines}
    name = fields.get("model name", platform.machine())
    flags = fields.get("flags", fields.get("Features", "")).split()
    features = [flag for flag in flags if _VECTOR_FEATURES.fullmatch(flag)]
    return f"{name} ({' '.join(features)})" if features else name
