"""The grid of the paper's supplement, Sec. 9, with its batch size of 64.

A method is searched over those settings that its config has: LoRA has no branches.
"""

space = {
    'optim_wrapper.optimizer.lr': [2e-4, 5e-4, 1e-3],
    'train_cfg.max_epochs': [300, 600, 900],
    'model.backbone.scale': [1.0, 10.0],
    'model.backbone.num_branches': [8, 6, 4],
    'default_hooks.branch_pruning.interval': [10, 20, 100, 200],
}
