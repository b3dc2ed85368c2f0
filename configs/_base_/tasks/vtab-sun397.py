_base_ = './vtab.py'
task = 'sun397'
