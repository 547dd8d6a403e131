"""Numba's compiler with a type that survives it: kernels keep their signatures for the type checker."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """Compile on first call; later processes load the machine code from the cache beside the module."""
    try:
        kernel = numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # neither the module's folder nor the user's cache can be written, as in some containers
        kernel = numba.njit(nogil=True)(function)
    return cast(_Function, kernel)
