import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_ffdl.trainingdata.progress import of_line, of_lines

CASES = [
    ("  45%|████▌     | 45/100 [00:12<00:15,  3.61it/s, loss=0.3]", "tqdm", 45, 100, 15),
    ("Epoch 3: 100%|██████████| 938/938 [00:10<00:00, 89.6it/s]", "tqdm", 938, 938, 0),
    (
        "Epoch 0:  21%|██        | 200/938 [00:02<1:00:10, 92.8it/s, v_num=0]",
        "tqdm",
        200,
        938,
        3610,
    ),
    ("  1%|▏         | 1/100 [00:00<?, ?it/s]", "tqdm", 1, 100, None),
    ("  5%|5         | 1.2k/24.0k [00:00<02:00, 5it/s]", "tqdm", 1200, 24000, 120),
    (
        "Map: 50%|█████     | 1000/2000 [00:01<2 days, 1:00:00, 9 examples/s]",
        "tqdm",
        1000,
        2000,
        176400,
    ),
    (
        "Epoch 1/9 ━━━━━━━━━━━━ 120/938 0:00:03 • 0:00:20 41.21it/s v_num: 1.000",
        "rich",
        120,
        938,
        20,
    ),
    (
        "\x1b[1m 625/1875\x1b[0m \x1b[32m━━━━\x1b[0m\x1b[37m━━━\x1b[0m \x1b[1m3s\x1b[0m 2ms/step",
        "keras",
        625,
        1875,
        None,
    ),
    (" 625/1875 [=========>....................] - ETA: 3s - loss: 0.3", "keras", 625, 1875, 3),
    ("25/100 [======>.......................] - ETA: 1:05 - loss: 0.3", "keras", 25, 100, 65),
    ("Train Epoch: 3 [12800/60000 (21%)]\tLoss: 0.123", "pytorch", 12800, 60000, None),
    ("Epoch: [3][ 120/5005]\tTime 0.1 (0.2)", "torchvision", 120, 5005, None),
    ("Epoch 3/10", "counter", 3, 10, None),
    ("epoch 3 of 10: loss 0.5", "counter", 3, 10, None),
    ("[Epoch 3/10] loss=0.5", "counter", 3, 10, None),
    ("step 1,000/20,000 loss 3.2", "counter", 1000, 20000, None),
    ("iter: 5/9", "counter", 5, 9, None),
    ("Processed 42% of it", "percent", 42, 100, None),
    ("done 12.5 %", "percent", 12.5, 100, None),
]


@pytest.mark.parametrize(("line", "form", "done", "total", "left"), CASES)
def test_the_forms_of_the_libraries(line, form, done, total, left):
    found = of_line(line)
    assert found is not None
    assert (found.form, found.done, found.total, found.eta_seconds) == (form, done, total, left)
    assert 0 <= found.fraction <= 1


@pytest.mark.parametrize(
    "line",
    [
        "",
        "no digits at all",
        "loss 0.5 accuracy 0.9",
        "{'loss': 0.51, 'learning_rate': 5e-05, 'epoch': 1.2}",
        "see /data/1/2/file",
        "2026/07/07 12:00:00 started",
        "step 12/10",
        "epoch 3/0",
        "accuracy 93%5",
    ],
)
def test_what_is_no_progress(line):
    assert of_line(line) is None


def test_the_last_line_that_tells_counts():
    found = of_lines(["Epoch 1/10", "Epoch 2/10", "saving model"])
    assert found is not None
    assert found.to_json() == {
        "done": 2.0,
        "total": 10.0,
        "unit": "epoch",
        "form": "counter",
        "fraction": 0.2,
        "eta_seconds": None,
        "text": "Epoch 2/10",
    }
    assert of_lines([]) is None


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_line_is_answered(line):
    found = of_line(line)
    assert found is None or 0 <= found.fraction <= 1


def test_a_line_of_megabytes_is_cheap():
    assert of_line("1" * 5_000_000) is None
    assert of_line("━1/2 " * 1_000_000) is None
