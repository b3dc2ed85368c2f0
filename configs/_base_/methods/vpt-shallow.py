"""VPT-shallow: 10 prompts before the first layer."""

_base_ = './vpt-deep.py'

method = dict(deep=False)
