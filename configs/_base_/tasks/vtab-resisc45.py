_base_ = './vtab.py'
task = 'resisc45'
