"""One module for each map method, found by its name, which is the choice of ``extract_cams.method``."""

from importlib import import_module

from pipeline.cams.method import MapMethod


def find_method(name: str) -> type[MapMethod]:
    """The class ``Method`` of the module of that name, one of :data:`pipeline.params.MAP_METHODS`."""
    method: type[MapMethod] = import_module(f"{__name__}.{name}").Method
    return method
