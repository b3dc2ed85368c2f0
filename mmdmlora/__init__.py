"""DMLoRA and its relatives for OpenMMLab.

The import itself loads neither PyTorch nor mmpretrain, so that the command line answers
at once. The first use of a name, such as ``mmdmlora.DMLoRAModel``, loads everything. So
does the first type ``mmdmlora.<Name>`` in a config: mmengine imports the module
``registry`` of a scope when it meets the scope's name.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ._requirements import check_installed
from .version import __version__

if TYPE_CHECKING:
    from ._everything import *  # noqa: F403

__all__ = ['__version__']

check_installed()


def __getattr__(name: str) -> Any:
    if name.startswith('__'):
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    if find_spec(f'{__name__}.{name}'):
        return import_module(f'.{name}', __name__)
    try:
        return getattr(import_module('._everything', __name__), name)
    except AttributeError:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}') from None


def __dir__() -> list[str]:
    everything = import_module('._everything', __name__)
    return sorted({*globals(), *vars(everything)})
