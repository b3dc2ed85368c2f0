"""How many coloured shapes there are, 3 to 10."""

_base_ = './generated.py'

num_classes = 8
train_dataloader = dict(dataset=dict(task='count'))
val_dataloader = dict(dataset=dict(task='count'))
test_dataloader = dict(dataset=dict(task='count'))
