_base_ = './vtab.py'
task = 'caltech101'
