_base_ = './fgvc.py'
task = 'cub'
