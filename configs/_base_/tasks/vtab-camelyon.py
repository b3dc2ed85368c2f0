_base_ = './vtab.py'
task = 'camelyon'
