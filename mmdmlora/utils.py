"""Small helpers that belong to no layer."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from mmengine.logging import MMLogger
from mmengine.model import is_model_wrapper
from torch import nn


def unwrapped(model: nn.Module) -> nn.Module:
    """The model itself, without the wrapper of a distributed run."""
    return cast(nn.Module, model.module) if is_model_wrapper(model) else model


@contextmanager
def quiet() -> Iterator[None]:
    """Keep mmengine's messages below an error out of the log.

    Its initializers and optimizer constructors print a line for every parameter, also
    for the frozen ones.
    """
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
