"""The settings of the cache."""

from __future__ import annotations

from typing import Any

BUDGET_GIB = 2.0


def check_cache(cache: Any, cache_gib: Any, place: str = '') -> None:
    """Refuse settings of a data set that ask for no cache that there is.

    Args:
        cache: None or 'memory'.
        cache_gib: The most that the images of the data set may take, in GiB.
        place: What stands before the names in the message, such as
            'train_dataloader.dataset.'.

    Raises:
        ValueError: Naming the setting and what it must be.
    """
    if cache is not None and cache != 'memory':
        raise ValueError(
            f"{place}cache={cache!r} is no cache: it must be 'memory', or None to read "
            'the files in every epoch.'
        )
    is_number = isinstance(cache_gib, int | float) and not isinstance(cache_gib, bool)
    if not (is_number and cache_gib > 0):
        raise ValueError(
            f'{place}cache_gib={cache_gib!r} must be a number above 0, the GiB of memory '
            f'that the images may take, such as {BUDGET_GIB}. Without a cache: '
            f'{place}cache=None.'
        )
