_base_ = './fewshot.py'
task = 'cars'
