_base_ = './vtab.py'
task = 'dmlab'
