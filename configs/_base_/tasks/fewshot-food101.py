_base_ = './fewshot.py'
task = 'food101'
