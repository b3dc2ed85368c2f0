"""A model of another library with the architecture of a trained classifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mmdmlora.models.convert import Placement


@dataclass
class LibraryModel:
    """A model of another library with the architecture of a trained classifier.

    Args:
        model: The model, with random weights, in evaluation mode.
        code: How a user builds it; FOLDER stands for the folder of ``files``.
        classifier: The path of its last linear layer.
        placement: Where it keeps the backbone's values.
        files: What a user needs beside it, file names and contents.
    """

    model: nn.Module
    code: str
    classifier: str
    placement: Placement
    files: dict[str, str] = field(default_factory=dict)

    def load(self, backbone: Mapping[str, Tensor], head: nn.Linear) -> None:
        """Fill it with a backbone's values and a head's, strictly."""
        state = self.placement.fill(backbone)
        self.model.load_state_dict({**state, **self.head_state(head)}, strict=True)

    def head_state(self, head: nn.Linear) -> dict[str, Tensor]:
        """The values of its last layer that equal a head's, under their full names.

        DINOv2 of transformers reads the class token and the mean of the patches; the
        weights of the mean are zero.
        """
        weight = head.weight.detach().float()
        own = self.model.get_parameter(f'{self.classifier}.weight')
        padded = weight.new_zeros(own.shape)
        padded[:, : weight.shape[1]] = weight
        values = {f'{self.classifier}.weight': padded}
        if self.model.get_submodule(self.classifier).bias is not None:
            bias = torch.zeros(len(weight)) if head.bias is None else head.bias.detach()
            values[f'{self.classifier}.bias'] = bias.float()
        return values


def logits_of(output: Any) -> Tensor:
    """The logits in what a model of another library returns."""
    return output if isinstance(output, Tensor) else output.logits
