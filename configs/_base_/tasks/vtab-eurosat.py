_base_ = './vtab.py'
task = 'eurosat'
