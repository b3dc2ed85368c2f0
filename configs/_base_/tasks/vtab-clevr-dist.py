_base_ = './vtab.py'
task = 'clevr-dist'
