_base_ = './vtab.py'
task = 'pets'
