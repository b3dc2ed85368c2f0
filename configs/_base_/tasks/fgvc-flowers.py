_base_ = './fgvc.py'
task = 'flowers'
