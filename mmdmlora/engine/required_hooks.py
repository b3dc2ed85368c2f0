"""The hooks that a run needs."""


def required_hooks(**checkpoint: object) -> dict[str, dict]:
    """Hooks with which a run resumes exactly and bad input ends it early.

    For ``default_hooks`` of a config; ``prepare`` adds them where a config lacks them::

        default_hooks = dict(
            **required_hooks(max_keep_ckpts=1),
            branch_pruning=dict(type='mmdmlora.BranchPruningHook'),
        )

    Args:
        **checkpoint: Options of
            :class:`~mmdmlora.engine.hooks.crash_safe_checkpoint_hook.CrashSafeCheckpointHook`
            beside ``interval='60s'``.

    Returns:
        dict[str, dict]: Configs by name.
    """
    return dict(
        checkpoint=dict(type='mmdmlora.CrashSafeCheckpointHook', interval='60s')
        | checkpoint,
        epoch_seed=dict(type='mmdmlora.EpochSeedHook'),
        accumulated_gradients=dict(type='mmdmlora.AccumulatedGradientsHook'),
        resume_check=dict(type='mmdmlora.ResumeCheckHook'),
        num_class_check=dict(type='mmdmlora.NumClassCheckHook'),
        finite_check=dict(type='mmdmlora.FiniteCheckHook'),
        plain_checkpoint=dict(type='mmdmlora.PlainCheckpointHook'),
    )
