_base_ = './vtab.py'
task = 'dsprites-loc'
