"""Call the C library, for what Python's own has no function."""

from __future__ import annotations

import functools
import os
from typing import Any


@functools.cache
def _library() -> Any:
    import ctypes  # late: most commands never need it

    return ctypes.CDLL(None, use_errno=True)


def call(function: str, *arguments: Any, about: str) -> int:
    """Return what a function of the C library returns; ``OSError``, which names ``about``, if that is negative."""
    result = int(getattr(_library(), function)(*arguments))
    if result < 0:
        import ctypes

        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), about)
    return result
