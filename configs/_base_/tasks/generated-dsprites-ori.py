"""To which of 16 ranges of angles a sprite is turned."""

_base_ = './generated.py'

num_classes = 16
train_dataloader = dict(dataset=dict(task='dsprites-ori'))
val_dataloader = dict(dataset=dict(task='dsprites-ori'))
test_dataloader = dict(dataset=dict(task='dsprites-ori'))
