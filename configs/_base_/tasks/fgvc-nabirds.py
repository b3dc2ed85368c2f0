_base_ = './fgvc.py'
task = 'nabirds'
