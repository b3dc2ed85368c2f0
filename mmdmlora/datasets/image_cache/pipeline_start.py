"""The part of a pipeline that gives the same each time."""

from __future__ import annotations

import copy
from typing import Any

from mmcv.transforms import CenterCrop, Pad, Resize
from mmcv.transforms import LoadImageFromFile as MMCVLoadImageFromFile
from mmpretrain.datasets.transforms import PackInputs, ResizeEdge

from ..images import LoadImageFromFile

# Their results follow from the image alone: they draw no random numbers and keep nothing
# from one image to the next. A subclass may do either, so the class itself counts.
DETERMINISTIC = (
    LoadImageFromFile,
    MMCVLoadImageFromFile,
    Resize,
    ResizeEdge,
    CenterCrop,
    Pad,
    PackInputs,
)


class PipelineStart:
    """The longest deterministic start of a pipeline, as it was when this was made.

    Args:
        pipeline: The pipeline of a data set.

    Attributes:
        steps (list): The steps of the start.
        is_whole (bool): Whether that is the whole pipeline, and ends in ``PackInputs``.
    """

    def __init__(self, pipeline: Any) -> None:
        self._all = list(getattr(pipeline, 'transforms', []))
        count = 0
        while count < len(self._all) and type(self._all[count]) in DETERMINISTIC:
            count += 1
        self.steps = self._all[:count]
        self._settings = [copy.deepcopy(vars(step)) for step in self.steps]
        self._rest = self._all[count:]
        self.is_whole = not self._rest and type(self._all[-1]) is PackInputs

    def is_of(self, pipeline: Any) -> bool:
        """Whether a pipeline still has these steps with the settings of that time."""
        if getattr(pipeline, 'transforms', None) != self._all:
            return False
        return [vars(step) for step in self.steps] == self._settings

    def run(self, data: dict) -> Any:
        """Take the steps of the start."""
        return _run(self.steps, data)

    def finish(self, data: Any) -> Any:
        """Take the steps that follow it."""
        return _run(self._rest, data)


def _run(steps: list, data: Any) -> Any:
    """As mmengine's ``Compose`` does: None ends it."""
    for step in steps:
        data = step(data)
        if data is None:
            return None
    return data
