"""Checks at import time, with a remedy in each message."""

import warnings

MMCV_REMEDY = (
    'mmdmlora needs mmcv. Install the pure-Python build with '
    '`pip install "mmdmlora[lite]"` (or `pip install mmcv-lite`), or the full mmcv that '
    'matches your PyTorch if you also use mmdet or mmseg.'
)
MMPRETRAIN_REMEDY = (
    'mmdmlora needs mmpretrain: `pip install "mmpretrain>=1.2.0" "setuptools<81"`.'
)


def check_requirements() -> None:
    """Import mmcv and mmpretrain, with all that mmpretrain registers.

    A child registry finds its parent's types only once they were imported.

    mmpretrain's optional multi-modal models fail to import beside transformers 5 and
    are used nowhere here, so they are switched off before mmpretrain's models load.
    mmcv-lite's warning that it has no deformable attention is not shown for the same
    reason.

    Raises:
        ImportError: If one of the two is missing or can't be imported; the message says
            what to install.
    """
    try:
        import mmcv  # noqa: F401
    except Exception as error:
        raise ImportError(f'{MMCV_REMEDY} (import mmcv: {error})') from error
    try:
        from mmpretrain.utils import dependency, register_all_modules

        dependency.WITH_MULTIMODAL = False
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', 'Fail to import ``MultiScaleDeformable')
            register_all_modules(init_default_scope=False)
    except Exception as error:
        raise ImportError(f'{MMPRETRAIN_REMEDY} (import mmpretrain: {error})') from error
