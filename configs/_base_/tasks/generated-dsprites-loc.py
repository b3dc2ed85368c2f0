"""In which of 16 ranges of columns a sprite is."""

_base_ = './generated.py'

num_classes = 16
train_dataloader = dict(dataset=dict(task='dsprites-loc'))
val_dataloader = dict(dataset=dict(task='dsprites-loc'))
test_dataloader = dict(dataset=dict(task='dsprites-loc'))
