"""Comparing a loaded state dict with the model that it is for."""

from __future__ import annotations

from torch import Tensor, nn

from mmdmlora.models.trained_state import describe_misfit


def check_fits(model: nn.Module, state_dict: dict[str, Tensor], source: str) -> None:
    """Refuse a state dict that leaves a tensor of the model as it is, or has others.

    mmengine only warns about both, and goes on with random values.

    Args:
        model (nn.Module): The model, as a :class:`~mmdmlora.models.PEFTModel` inside it
            reports its state: without what is frozen.
        state_dict (dict[str, Tensor]): What a checkpoint holds.
        source (str): What to call the checkpoint in the message.

    Raises:
        ValueError: Naming the first tensors that don't fit.
    """
    expected = model.state_dict()
    faults = describe_misfit(state_dict, expected, expected)
    if faults:
        raise ValueError(
            f'{source} does not fit the config: {faults}. It was made with another '
            'method, rank, number of branches, target, backbone or number of classes: '
            'use the config that it was trained with.'
        )
