_base_ = './vtab.py'
task = 'cifar100'
