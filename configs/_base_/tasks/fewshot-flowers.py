_base_ = './fewshot.py'
task = 'flowers'
