_base_ = './vtab.py'
task = 'smallnorb-ele'
