"""A trained classifier's own architecture in mmpretrain, without adapters."""

from __future__ import annotations

from mmengine.config import Config
from mmpretrain.registry import MODELS as STOCK

from mmdmlora.engine.export import stock_config
from mmdmlora.models.convert import Placement

from .classifier import TrainedClassifier
from .library_model import LibraryModel

CONFIG_FILE = 'model.py'


def mmpretrain_model(trained: TrainedClassifier) -> LibraryModel:
    """The stock classifier of mmpretrain that the trained one was made from."""
    config = stock_config(trained.config)
    model = STOCK.build(config.model).eval()
    (classifier,) = (
        f'head.{name}'
        for name, module in trained.model.head.named_modules()
        if module is trained.head
    )
    needed = ('default_scope', 'custom_imports', 'data_preprocessor', 'model')
    stock = Config({key: config[key] for key in needed if key in config})
    return LibraryModel(
        model,
        f'mmpretrain.get_model(FOLDER + {"/" + CONFIG_FILE!r})',
        classifier,
        Placement(model.state_dict(), prefix='backbone.'),
        files={CONFIG_FILE: stock.pretty_text},
    )
