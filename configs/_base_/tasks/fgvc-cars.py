_base_ = './fgvc.py'
task = 'cars'
