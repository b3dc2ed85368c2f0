"""Stand-ins for the compiled operations that mmcv-lite lacks.

mmsegmentation and mmdetection import ``mmcv.ops`` as they start, and need it for few of
their models. An operation that is called ends in an error. They also refuse an mmcv newer
than 2.1, of which they use nothing that has changed.
"""

from __future__ import annotations

import importlib
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

NAME = 'mmcv.ops'


class _Missing(ModuleType):
    __path__: list[str] = []

    def __getattr__(self, name: str) -> type:
        if name.startswith('__'):
            raise AttributeError(name)

        def fail(self, *args, **kwargs):
            raise RuntimeError(f'{NAME}.{name} needs mmcv with compiled operations')

        return type(name, (), dict(__init__=fail))


class _Finder(MetaPathFinder, Loader):
    def find_spec(self, fullname, path=None, target=None) -> ModuleSpec | None:
        if fullname == NAME or fullname.startswith(f'{NAME}.'):
            return ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Missing(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def stand_in_for_missing_ops() -> None:
    """Let the toolboxes import where mmcv is newer or has no compiled operations.

    The other toolboxes import mmpretrain's multimodal models, too, which need a package
    that may be missing.
    """
    mmcv = importlib.import_module('mmcv')
    mmcv.__version__ = min(mmcv.__version__, '2.1.0')
    dependency = importlib.import_module('mmpretrain.utils.dependency')
    dependency.WITH_MULTIMODAL = False
    try:
        importlib.import_module(NAME)
    except ImportError:
        for name in [n for n in sys.modules if n.startswith(NAME)]:
            del sys.modules[name]
        sys.meta_path.insert(0, _Finder())
