_base_ = './fewshot.py'
task = 'aircraft'
