_base_ = './vtab.py'
task = 'flowers102'
