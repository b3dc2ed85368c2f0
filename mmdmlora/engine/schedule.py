"""Points of a run, given in epochs or as a fraction."""

from __future__ import annotations

from numbers import Real


def to_epochs(value: float, max_epochs: int, name: str) -> float:
    """Convert a point of a run to epochs.

    Args:
        value (int | float): A whole number of epochs, or a float in [0, 1], a fraction
            of the run that survives a change of its length.
        max_epochs (int): Length of the run.
        name (str): What to call the value in a message.

    Raises:
        ValueError: If the value is no number, negative or a float above 1.
    """
    if not isinstance(value, Real) or isinstance(value, bool):
        raise ValueError(
            f'{name}={value!r} is no number: give epochs as a whole number, or a '
            'fraction of the run such as 0.1.'
        )
    if isinstance(value, int):
        if value < 0:
            raise ValueError(f'{name}={value} is negative.')
        return value
    if not 0 <= value <= 1:
        raise ValueError(
            f'{name}={value} is no fraction in [0, 1]; give epochs as a whole number.'
        )
    return value * max_epochs
