"""Finding the data sets inside wrappers such as RepeatDataset and ConcatDataset."""

from __future__ import annotations

from typing import Any

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def innermost_datasets(dataset: Any) -> dict[str, Any]:
    """The data sets that read files, below any number of wrappers.

    A wrapper holds one data set in ``dataset`` (RepeatDataset, ClassBalancedDataset,
    KFoldDataset, torch's Subset) or several in ``datasets`` (ConcatDataset).

    Args:
        dataset: The settings of a data set, or a data set that was built from them.

    Returns:
        dict: By their place from ``dataset``: ``''`` for itself, or such as
        ``.datasets.0.dataset``.
    """
    inner = _member(dataset, 'dataset')
    if hasattr(inner, '__getitem__') and not isinstance(inner, str):
        below = {'.dataset': inner}
    else:
        several = _member(dataset, 'datasets')
        if not isinstance(several, list | tuple):
            return {'': dataset}
        below = {f'.datasets.{index}': each for index, each in enumerate(several)}
    return {
        place + deeper: found
        for place, each in below.items()
        for deeper, found in innermost_datasets(each).items()
    }


def dataset_settings(config: Any, loaders: tuple[str, ...] = LOADERS) -> dict[str, Any]:
    """The settings of all data sets that read files, by their keys in the config."""
    return {
        f'{name}.dataset{place}': found
        for name in loaders
        if (outer := (config.get(name) or {}).get('dataset')) is not None
        for place, found in innermost_datasets(outer).items()
    }


def _member(dataset: Any, name: str) -> Any:
    if isinstance(dataset, dict):
        return dataset.get(name)
    return getattr(dataset, name, None)
