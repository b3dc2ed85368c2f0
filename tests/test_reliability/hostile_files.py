"""Files that ask for code when they are loaded, or that are far larger than they look."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from mmdmlora.engine import load_checkpoint_file


class _Runs:
    """Pickled, it is a call of a function."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def _os_system(folder: Path) -> str:
    trace = folder / 'executed'
    file = folder / 'x.pth'
    file.write_bytes(pickle.dumps(dict(state_dict=_Runs(os.system, f'touch {trace}'))))
    with pytest.raises(ValueError) as error:
        load_checkpoint_file(file)
    assert not trace.exists()
    return str(error.value)


CASES = {
    'a pickle that calls `os.system`': _os_system,
}
