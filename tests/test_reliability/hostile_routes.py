"""Files that ask for code where mmengine or a tool loads them."""

from __future__ import annotations

import functools
import os
import threading
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from unittest import mock

import torch
from mmengine.config import Config
from mmengine.infer import BaseInferencer

from mmdmlora.io import load_checkpoint
from tests import peft_runner
from tests.test_io.with_safe_loaders import safe_loaders_installed
from tests.test_reliability.hostile_code import SYSTEM, opens, saved
from tests.test_reliability.hostile_tool import Case, attack, refusal, unsafe_load
from tests.test_reliability.tool import DMLORA, LORA, run_options, run_tool


def _run_config(file: Path) -> None:
    """What mmengine does with the config in a checkpoint."""
    checkpoint = torch.load(file, weights_only=True)
    hub = checkpoint['message_hub']['runtime_info']
    for text in (*map(checkpoint['meta'].get, ('config', 'cfg')), hub.get('cfg')):
        if text:
            Config.fromstring(text, file_format='.py')


def _write_configs(file: Path, trace: Path, meta: dict, hub: dict) -> None:
    """A checkpoint of a training whose configs are code, in the folder of the trace."""
    peft_runner.runner(file.parent, epochs=1).train()
    checkpoint = torch.load(file.parent / 'epoch_1.pth', weights_only=True)
    for entry in ('config', 'cfg'):
        checkpoint['meta'].pop(entry, None)
    checkpoint['message_hub']['runtime_info'].pop('cfg')
    code = opens(trace)
    checkpoint['meta'].update(dict.fromkeys(meta, code))
    checkpoint['message_hub']['runtime_info'].update(dict.fromkeys(hub, code))
    torch.save(checkpoint, file)


def _resume(file: Path) -> str:
    runner = peft_runner.runner(file.parent, epochs=2)
    runner.call_hook('before_run')
    with (
        safe_loaders_installed(),
        mock.patch('mmengine.logging.message_hub.print_log') as warn,
    ):
        runner.resume(str(file))
    assert not warn.called, warn.call_args_list
    runner.train()
    return f'(It resumes after epoch 1 and trains epoch {runner.epoch}.)'


class _Inferencer(BaseInferencer):
    _init_pipeline = visualize = postprocess = None


def _infer(file: Path) -> None:
    with safe_loaders_installed():
        _Inferencer(weights=str(file))


def _config(load, tell=refusal, meta=(), hub=()) -> Case:
    write = functools.partial(_write_configs, meta=meta, hub=hub)
    return attack(write, _run_config, load, tell=tell)


def _from_address(file: Path) -> None:
    """Load it from a server, through torch.hub's cache beside it."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args) -> None:
            """Say nothing."""

    handler = functools.partial(Handler, directory=str(file.parent))
    with (
        HTTPServer(('127.0.0.1', 0), handler) as server,
        mock.patch.dict(os.environ, no_proxy='127.0.0.1'),
        mock.patch.object(torch.hub, 'get_dir', lambda: str(file.parent / 'hub')),
    ):
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        try:
            address = f'http://127.0.0.1:{server.server_port}/{file.name}'
            load_checkpoint(address)
        finally:
            server.shutdown()


NEED_FOLDER = ('train.py', 'test.py')


def _with_tool(name: str, *args: str, options: str = '') -> Case:
    """The tool's arguments may contain ``{file}`` and ``{folder}``."""

    def tell(_, file: Path) -> str:
        folder = file.parent
        given = [arg.format(file=file, folder=folder) for arg in args]
        if name in NEED_FOLDER:
            given += run_options(folder, *options.format(file=file).split())
        message = run_tool(name, *given)
        assert not (folder / 'out.pth').exists()
        return message

    return attack(saved(SYSTEM), unsafe_load, tell=tell)


CASES: dict[str, Case] = {
    '`meta.config` with code, and the training is resumed': _config(
        None, lambda _, file: _resume(file), meta=('config',)
    ),
    '`meta.cfg` with code, and an inferencer gets only the weights': _config(
        _infer, meta=('cfg',)
    ),
    '`message_hub.runtime_info.cfg` with code, likewise': _config(_infer, hub=('cfg',)),
    '`os.system` at an http address': attack(saved(SYSTEM), unsafe_load, _from_address),
    '`os.system` in the checkpoint for `tools/test.py`': _with_tool(
        'test.py', DMLORA, '{file}'
    ),
    '`os.system` in the checkpoint for `tools/merge.py`': _with_tool(
        'merge.py', LORA, '{file}', '{folder}/out.pth'
    ),
    '`os.system` in the backbone for `tools/convert_backbone.py`': _with_tool(
        'convert_backbone.py', '{file}', '{folder}/out.pth'
    ),
    '`os.system` in the backbone for `tools/train.py`': _with_tool(
        'train.py', LORA, options='model.backbone.module.init_cfg.checkpoint={file}'
    ),
}
