_base_ = './vtab.py'
task = 'retinopathy'
