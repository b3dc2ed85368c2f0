_base_ = './fewshot.py'
task = 'pets'
