_base_ = './fgvc.py'
task = 'dogs'
