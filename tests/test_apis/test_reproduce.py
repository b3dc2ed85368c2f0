"""The table of experiments, with training replaced by a stub."""

import json
from pathlib import Path

import pytest

from mmdmlora.apis import reproduce as module
from mmdmlora.apis.benchmark.measurement import Measurement

CONFIGS = Path(__file__).parents[2] / 'configs'


@pytest.fixture
def trained(monkeypatch):
    """Training writes a summary that follows from method and seed."""
    runs = []

    def train(config):
        runs.append((config.model.backbone.type, config.randomness.seed, config.resume))
        work_dir = Path(config.work_dir)
        work_dir.mkdir(parents=True)
        score = {'LinearProbeModel': 80, 'LoRAModel': 90, 'DMLoRAModel': 85}
        kind = config.model.backbone.type.removeprefix('mmdmlora.')
        summary = {
            'test accuracy/top1': score.get(kind, 50) + config.randomness.seed,
            'trained parameters': 1000 * score.get(kind, 50),
        }
        (work_dir / 'summary.json').write_text(json.dumps(summary))

    def measure(files, device):
        seconds = [0.010, 0.020, 0.5]
        return [
            Measurement(label, 0, seconds=seconds, step_bytes=3 * 2**20)
            for label in files
        ]

    monkeypatch.setattr(module, 'train', train)
    monkeypatch.setattr(module, '_measure', measure)
    return runs


def test_every_method_and_seed_once(trained, tmp_path):
    text = module.reproduce('digits', CONFIGS, tmp_path)
    assert len(trained) == 30 and {seed for _, seed, _ in trained} == {0, 1, 2}
    assert all(resume for *_, resume in trained)
    rows = {line.split('|')[1].strip(): line for line in text.splitlines()[2:-2]}
    assert '| 91.00 ± 1.00 | 90.00, 91.00, 92.00 | 90,000 | 20.0 | 3.0 |' in rows['LoRA']
    assert '| 86.00 ± 1.00 |' in rows['DMLoRA-LS']
    assert '| 81.00 ± 1.00 |' in rows['Linear']
    assert text.endswith('batch 64, 20 steps each in turn, on cpu.')


def test_finished_runs_are_not_repeated(trained, tmp_path):
    first = module.reproduce('digits', CONFIGS, tmp_path)
    (tmp_path / 'digits' / 'lora' / '1' / 'summary.json').unlink()
    (tmp_path / 'digits' / 'lora' / '1').rmdir()
    trained.clear()
    assert module.reproduce('digits', CONFIGS, tmp_path) == first
    assert trained == [('mmdmlora.LoRAModel', 1, True)]


def test_unknown_table(tmp_path):
    with pytest.raises(ValueError, match=r"no table 'x': known are \['digits'\]"):
        module.reproduce('x', CONFIGS, tmp_path)


def test_every_row_of_a_table_can_be_measured(monkeypatch):
    files = {label: CONFIGS / f for label, f in module.TABLES['digits'].rows.items()}
    monkeypatch.setattr(module, 'BATCH', 2)
    monkeypatch.setattr(module, 'STEPS', 1)
    timings = module._measure(files, 'cpu')
    assert [t.name for t in timings] == list(files)
    assert all(t.trained and t.seconds and t.step_bytes for t in timings)
