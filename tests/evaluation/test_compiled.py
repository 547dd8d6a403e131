from typing import Any

from pipeline.evaluation.compiled import compiled


def test_a_kernel_without_a_place_for_its_cache_is_compiled_all_the_same():
    """Numba has no place for a function whose module is no file, as for one in a folder that cannot be written."""
    module: dict[str, Any] = {}
    exec("def double(x):\n    return 2 * x", module)
    kernel = compiled(module["double"])
    assert kernel(21) == 42
    assert kernel.signatures
