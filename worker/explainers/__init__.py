"""The explanation methods: pure functions from feature maps, gradients and weights to attributions."""

import pkgutil
from collections.abc import Callable
from typing import Any

from shared.methods import METHODS


def explainer(method: str) -> Callable[..., Any]:
    """Return the function of a method."""
    function: Callable[..., Any] = pkgutil.resolve_name(METHODS[method].function)
    return function
