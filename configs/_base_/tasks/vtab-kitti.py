_base_ = './vtab.py'
task = 'kitti'
