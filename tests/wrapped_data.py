"""The wrappers of data sets that configs use."""

from __future__ import annotations

WRAPPERS = {
    'repeat': lambda data: dict(type='RepeatDataset', dataset=data, times=2),
    'concat': lambda data: dict(type='ConcatDataset', datasets=[data, data]),
    'balanced': lambda data: dict(
        type='ClassBalancedDataset', dataset=data, oversample_thr=0.2
    ),
    'fold': lambda data: dict(type='KFoldDataset', dataset=data, num_splits=4),
    'nested': lambda data: dict(
        type='RepeatDataset',
        times=2,
        dataset=dict(
            type='ConcatDataset',
            datasets=[dict(type='RepeatDataset', dataset=data, times=1), data],
        ),
    ),
}
