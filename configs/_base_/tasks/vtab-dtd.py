_base_ = './vtab.py'
task = 'dtd'
