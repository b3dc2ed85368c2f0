"""In which of 6 ranges of distances the nearest object is."""

_base_ = './generated.py'

num_classes = 6
train_dataloader = dict(dataset=dict(task='dist'))
val_dataloader = dict(dataset=dict(task='dist'))
test_dataloader = dict(dataset=dict(task='dist'))
