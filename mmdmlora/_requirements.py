"""What has to be installed, with a remedy in each message."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import ModuleType
from typing import Any

REMEDIES = dict(
    mmcv='mmdmlora needs mmcv. Install the pure-Python build with '
    '`pip install "mmdmlora[lite]"` (or `pip install mmcv-lite`), or the full mmcv that '
    'matches your PyTorch if you also use mmdet or mmseg.',
    mmpretrain='mmdmlora needs mmpretrain: '
    '`pip install "mmpretrain>=1.2.0" "setuptools<81"`.',
)


class MissingExtraError(ImportError):
    """A package that only some parts of mmdmlora need isn't installed."""


def check_installed() -> None:
    """Look for mmcv and mmpretrain without importing them.

    Raises:
        ImportError: If one of the two is missing; the message says what to install.
    """
    for name, remedy in REMEDIES.items():
        if find_spec(name) is None:
            raise ImportError(remedy)


def load_mmpretrain() -> ModuleType:
    """Import mmpretrain with all that it registers, and return its registries.

    A child registry finds its parent's types only once they were imported.

    Beside transformers 5 mmpretrain's multi-modal models can't be imported, and with them
    none of its models. Only there they are left out, as mmpretrain itself does where
    transformers is missing; its switch is put back afterwards. mmcv-lite's warning that
    it has no deformable attention is not shown: nothing here uses it.

    Raises:
        ImportError: If mmcv or mmpretrain can't be imported; the message says what to
            install.
    """
    with warnings.catch_warnings(), _transformers_later():
        warnings.filterwarnings('ignore', 'Fail to import ``MultiScaleDeformable')
        try:
            import mmcv  # noqa: F401
        except Exception as error:
            raise ImportError(f'{REMEDIES["mmcv"]} (import mmcv: {error})') from error
        try:
            from mmpretrain import registry
            from mmpretrain.utils import register_all_modules

            with _importable_multimodal():
                register_all_modules(init_default_scope=False)
        except Exception as error:
            remedy = REMEDIES['mmpretrain']
            raise ImportError(f'{remedy} (import mmpretrain: {error})') from error
    return registry


def _has_transformers_5() -> bool:
    try:
        return int(version('transformers').partition('.')[0]) >= 5
    except PackageNotFoundError:
        return False


@contextmanager
def _importable_multimodal() -> Iterator[None]:
    """Switch mmpretrain's multi-modal models off where they can't be imported."""
    from mmpretrain.utils import dependency

    before = dependency.WITH_MULTIMODAL
    if _has_transformers_5():
        dependency.WITH_MULTIMODAL = False
    try:
        yield
    finally:
        dependency.WITH_MULTIMODAL = before


@contextmanager
def _transformers_later() -> Iterator[None]:
    """Keep mmengine from importing transformers 5 before someone uses it.

    mmengine does so for one optimizer, Adafactor, and that takes as long as all other
    imports together. The optimizer is registered all the same; building it imports it.
    """
    loaded = {'transformers', 'mmengine.optim'} & sys.modules.keys()
    if loaded or not _has_transformers_5():
        yield
        return
    sys.modules['transformers'] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules['transformers']
    from mmengine.registry import OPTIMIZERS

    OPTIMIZERS.register_module(name='Adafactor', module=_adafactor)


def _adafactor(params: Any, **settings: Any) -> Any:
    from transformers import Adafactor

    return Adafactor(params, **settings)


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Import optional packages inside this, so that a missing one is told.

    Args:
        name (str): The extra of mmdmlora that installs them.

    Raises:
        MissingExtraError: If an import fails; the message says what to install.
    """
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(
            f'{error.name or error} is needed here and can not be imported: '
            f'pip install "mmdmlora[{name}]".'
        ) from error
