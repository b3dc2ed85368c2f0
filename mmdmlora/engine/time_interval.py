"""Whether a span of time has passed, with one answer for all processes."""

from __future__ import annotations

import re
from time import monotonic

import torch
from mmengine.dist import broadcast, get_world_size

SECONDS = dict(s=1, min=60, h=3600)


class TimeInterval:
    """A span of time, counted from its last start.

    In a distributed run the clock of the main process decides, and every process has to
    ask at the same place. The answer comes by way of the hosts (gloo), so that nobody
    waits for a device.

    Args:
        text (str): A number above 0 and its unit: s, min or h.

    Raises:
        ValueError: If ``text`` is no such time.
    """

    def __init__(self, text: object) -> None:
        parts = re.fullmatch(r'(\d+(?:\.\d+)?) ?(s|min|h)', str(text), re.ASCII)
        self.seconds = float(parts[1]) * SECONDS[parts[2]] if parts else 0.0
        if self.seconds == 0:
            raise ValueError(
                f'interval={text!r} is neither a whole number nor a time above 0: give '
                "one such as 1, or one such as '60s', '5min' or '1h'."
            )
        self._group: object = None
        self.start()

    def start(self) -> None:
        """Count from now."""
        self._started = monotonic()

    def has_passed(self) -> bool:
        passed = monotonic() - self._started >= self.seconds
        if get_world_size() == 1:
            return passed
        if self._group is None and torch.distributed.is_gloo_available():
            self._group = torch.distributed.new_group(backend='gloo')
        answer = torch.tensor([int(passed)])
        broadcast(answer, group=self._group)
        return bool(answer.item())
