_base_ = './vtab.py'
task = 'svhn'
