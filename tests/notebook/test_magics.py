"""The magics in a real kernel that a real Jupyter server started."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from kernels import Kernel

# One server and one kernel serve them all.
pytestmark = pytest.mark.xdist_group("notebook")

COUNT = """\
import time
for step in range(30):
    print("step", step, flush=True)
    time.sleep(0.05)
"""
SLEEP = "import time\nprint('begun', flush=True)\ntime.sleep(600)\n"


def magic(options: str, body: str) -> str:
    return f"%%ffdl_train {options}\n{body}"


def plain(ran) -> str:
    return ran.view["text/plain"]


def ids(kernel: Kernel) -> set[str]:
    answer = kernel.server.get("v1/models").json
    return {model["model_id"] for model in answer["models"]}


def test_loading_prints_nothing_and_may_be_repeated(server):
    fresh = Kernel(server, "fresh.ipynb")
    assert fresh.ok("%load_ext jupyter_ffdl").outputs == 0
    assert fresh.ok("%reload_ext jupyter_ffdl").outputs == 0
    fresh.stop()


@pytest.mark.alone
def test_loading_takes_no_time():
    code = (
        "import time; from IPython.core.interactiveshell import InteractiveShell as I\n"
        "shell = I.instance(); began = time.perf_counter()\n"
        "shell.run_line_magic('load_ext', 'jupyter_ffdl')\n"
        "print(time.perf_counter() - began)"
    )
    took = [float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(3)]
    assert min(took) <= 0.15


def test_a_cell_has_one_output_that_lives_while_the_kernel_is_idle(kernel):
    began = time.monotonic()
    ran = kernel.ok(magic("--name lively", COUNT))
    assert time.monotonic() - began < 3
    assert ran.outputs == 1
    assert set(ran.view) == {"text/plain", "text/html", "id"}
    assert plain(ran).startswith(f'Training {ran.training_id} "lively')
    final = kernel.until(ran.view, "Completed")
    assert "step 29" in final["text/html"]
    updates = kernel.updates[ran.view["id"]]
    assert any("Running" in update["text/plain"] for update in updates)
    assert any("step " in update["text/html"] for update in updates[:-1])
    times = [update["at"] for update in updates]
    assert len(times) <= 2 * (times[-1] - times[0]) + 3


def test_the_view_and_the_repr_are_one_text(kernel):
    ran = kernel.ok(magic("--as t", "print(1)"))
    final = kernel.until(ran.view, "Completed")
    assert kernel.ok("print(repr(t))").printed.strip() == final["text/plain"]
    assert kernel.ok("t").view["text/plain"] == final["text/plain"]


def test_an_assigned_training_is_one_line_of_text(kernel):
    ran = kernel.ok("t = %ffdl_train one.py")
    assert ran.displayed == []
    assert ran.printed.startswith("Training training-")
    assert ran.printed.count("\n") == 1
    assert kernel.ok("t.wait(30)").displayed[0]["text/plain"] == "'COMPLETED'"


def test_a_bare_line_has_a_view_wherever_it_stands(kernel):
    last = kernel.ok("x = 1\n%ffdl_train one.py")
    first = kernel.ok("%ffdl_train one.py\nx = 2")
    for ran in (last, first):
        assert ran.outputs == 1
        assert "text/html" in ran.view


def test_the_underscore_is_the_training(kernel):
    ran = kernel.ok("%ffdl_train one.py")
    assert kernel.ok("print(_.id)").printed.strip() == ran.training_id


def test_the_body_is_shipped_as_typed_and_only_the_line_expands(kernel):
    kernel.ok("rate = 0.5")
    ran = kernel.ok(magic("--param lr={rate * 2} --name $rate --wait", "print(lr, '{rate} $rate')"))
    assert '"0.5' in plain(ran)
    logs = kernel.ok(f"%ffdl logs {ran.training_id}").printed
    assert logs == "1.0 {rate} $rate\n"


def test_waiting_ends_with_the_training_and_a_failure_is_one_line(kernel):
    good = kernel.ok(magic("--wait", "print(1)"))
    assert "Completed" in kernel.until(good.view, "Completed")["text/plain"]
    bad = kernel.run(magic("--wait", "x = 1\nraise ValueError('no such luck')"))
    assert bad.error.startswith("TrainingFailed: ")
    assert "no such luck" in bad.error
    assert len(bad.traceback) == 1


def test_a_failure_names_cell_and_line(kernel):
    count = int(kernel.ok("print(get_ipython().execution_count)").printed) + 1
    ran = kernel.ok(magic("--param a=1 --param b=2", "x = 1\n\nraise ValueError('why')\n"))
    final = kernel.until(ran.view, "Failed")
    assert f"Cell [{count}], line 3" in final["text/plain"] + final["text/html"]
    assert "raise ValueError(&#x27;why&#x27;)" in final["text/html"]


def test_an_interrupt_during_wait_detaches(kernel):
    running = kernel.execute(magic("--wait --as t", SLEEP))
    deadline = time.monotonic() + 30
    while kernel.receive(deadline)["msg_type"] != "display_data":
        pass
    kernel.interrupt()
    ran = kernel.finish(running)
    assert not ran.error
    assert "goes on" in ran.printed
    assert "%ffdl halt training-" in ran.printed
    assert kernel.ok("print(t.done)").printed == "False\n"
    assert "Halting" in kernel.ok("%ffdl halt $t.id").printed
    assert kernel.ok("t.wait(30)").displayed[0]["text/plain"] == "'HALTED'"


def test_waiting_no_longer_than_told(kernel):
    ran = kernel.run(magic("--wait --timeout 1 --as t", SLEEP))
    assert ran.error.startswith("StillRunning: 1 of 1")
    assert len(ran.traceback) == 1
    kernel.ok("t.halt().wait(30)")


def test_an_earlier_one_of_the_name_that_still_runs_is_mentioned(kernel):
    first = kernel.ok(magic("--name busy", SLEEP))
    second = kernel.ok(magic("--name busy", "pass"))
    assert "busy #2" in plain(second)
    assert f"%ffdl halt {first.training_id} would stop it" in second.view["text/html"]
    kernel.ok(f"%ffdl halt {first.training_id}")


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (magic("--gpu 1", "pass"), "Did you mean --gpus?"),
        (magic("--gpus many", "pass"), "--gpus many: not a whole number"),
        (magic("--memory 4", "pass"), "Write --memory 4Gb"),
        (magic("--cells all", "pass"), "--cells all: must be one of: this"),
        (magic("--with nothing.csv", "pass"), "--with nothing.csv: there is no such file"),
        (magic("--data nowhere", "pass"), "--data nowhere: there is no such directory"),
        (magic("--secret NOT_SET", "pass"), "--secret NOT_SET"),
        (magic("--env MY_TOKEN=x", "pass"), "--secret MY_TOKEN"),
        (magic("--manifest no.yml", "pass"), "no.yml: cannot be read"),
        (magic("--from training-aaaaaaaaaaaa", "pass"), "no training training-aaaaaaaaaaaa"),
        (magic("--gpus 4096", "pass"), "4096"),
        (magic("words", "pass"), "words does not belong to a cell's line"),
        (magic("", "x = ("), "line 1: '(' was never closed"),
        (magic("", "  "), "The cell is empty"),
        ("%ffdl_train", "Nothing to train"),
        ("%ffdl_train no.py", "no.py: there is no such file"),
        ("%ffdl_train a b c", "one file and one folder"),
        ("%ffdl shw", "Did you mean show?"),
        ("%ffdl list --status DONE", "--status DONE: must be one of"),
        ("%ffdl logs nobody", "There is no training nobody"),
        ("%ffdl halt", "%ffdl halt needs an ID"),
        ("%ffdl delete", "%ffdl delete needs an ID"),
        ("%ffdl show a b", "b: too many words"),
    ],
)
def test_what_is_typed_wrong_is_one_line_and_creates_nothing(kernel, cell, said):
    before = ids(kernel)
    ran = kernel.run(cell)
    # IPython prints a UsageError itself: there is no error output and no traceback.
    assert ran.warned.startswith("UsageError: "), (ran.error, ran.printed, ran.warned)
    assert ran.warned.strip().count("\n") == 0
    assert said in ran.warned
    assert ids(kernel) == before


def test_a_dry_run_shows_script_files_and_notes_and_creates_nothing(kernel):
    kernel.ok("open('data.csv', 'w').write('1,2');")
    before = ids(kernel)
    cell = magic("--dry-run --with data.csv --name planned", "%matplotlib inline\nprint(1)")
    shown = plain(kernel.ok(cell))
    for text in ("train.py", "data.csv", 'name: "planned"', "%matplotlib inline"):
        assert text in shown
    assert ids(kernel) == before


def test_lines_for_ipython_only_are_left_out_of_the_training(kernel):
    ran = kernel.ok(magic("--wait", "%matplotlib inline\n!echo it's\nprint('ran')"))
    assert kernel.ok(f"%ffdl logs {ran.training_id}").printed == "ran\n"
    assert "Line 2 is for IPython only" in ran.view["text/html"]


def test_the_verbs_look_after_trainings(kernel):
    ran = kernel.ok(magic("--name verbs --wait", COUNT + "open('left.txt', 'w').write('x')\n"))
    listed = plain(kernel.ok("%ffdl list -n 3"))
    assert ran.training_id in listed
    assert "Completed" in listed
    assert ran.training_id in plain(kernel.ok("%ffdl show verbs"))
    assert ran.training_id in plain(kernel.ok(f"%ffdl show {ran.training_id[:16]}"))
    assert ran.training_id in plain(kernel.ok("%ffdl show"))
    tail = kernel.ok("%ffdl logs verbs --tail 2").printed
    assert tail == "… 28 earlier lines left out (--tail 30 shows all)\nstep 28\nstep 29\n"
    assert kernel.ok("%ffdl logs verbs --follow").printed.count("step") == 30
    assert "left.txt" in plain(kernel.ok("%ffdl results verbs"))
    assert "Wrote" in kernel.ok("%ffdl results verbs fetched").printed
    assert "none recorded" in plain(kernel.ok("%ffdl scalars verbs"))
    assert "ended already" in kernel.ok("%ffdl halt verbs").printed
    assert "its results are kept" in kernel.ok(f"%ffdl delete {ran.training_id}").printed
    assert "There is no training" in kernel.run("%ffdl show verbs").warned


def test_several_of_a_name_mean_the_latest_and_that_is_said(kernel):
    kernel.ok(magic("--name several --wait", "print(1)"))
    second = kernel.ok(magic("--name several --wait", "print(2)"))
    shown = kernel.ok("%ffdl logs several")
    assert "2 trainings are named several; the latest is" in shown.printed
    assert second.training_id in shown.printed
    assert kernel.ok("%ffdl logs several#1").printed.endswith("1\n")


def test_stacks_tell_what_runs(kernel):
    kernel.ok(magic("--name sleeper --as t", SLEEP))
    kernel.ok("for line in t.logs(follow=True): break")
    assert "time.sleep(600)" in kernel.ok("%ffdl stacks sleeper").printed or "line 3" in (
        kernel.ok("%ffdl stacks sleeper").printed
    )
    kernel.ok("t.halt()")


def test_an_unchanged_cell_with_from_runs_the_stored_snapshot(kernel):
    first = kernel.ok(magic("--name origin --param lr=0.5 --cpus 1 --wait", "print('lr', lr)"))
    same = kernel.ok(magic(f"--from {first.training_id} --memory 2Gb --wait", "print('lr', lr)"))
    other = kernel.ok(magic(f"--from {first.training_id} --wait", "print('is', lr)"))
    assert kernel.ok(f"%ffdl logs {same.training_id}").printed == "lr 0.5\n"
    assert kernel.ok(f"%ffdl logs {other.training_id}").printed == "is 0.5\n"
    facts = kernel.ok(
        "from jupyter_ffdl import Training\n"
        f"one, two = Training('{same.training_id}'), Training('{other.training_id}')\n"
        "print(one.parent.id, two.parent.id, one.name, two.name, "
        "one.info['training']['cpus'], two.info['training']['cpus'])"
    ).printed
    parent = first.training_id
    assert facts.split() == [parent, parent, "origin", "origin", "1", "1"]


def test_the_doctor_finds_nothing_wrong_and_shows_no_secret(kernel):
    report = plain(kernel.ok("%ffdl doctor"))
    assert "✗" not in report
    assert "the Jupyter server that started this kernel" in report
    assert "export DLAAS_URL=" in report
    assert kernel.server.record["secret"] not in report


def test_a_flood_is_shown_at_its_end_and_costs_the_kernel_nothing(kernel):
    flood = "line = 'x' * 99\nfor n in range(600_000): print(line)\nprint('the end')\n"
    used = "import time; print(time.process_time())"
    before = float(kernel.ok(used).printed)
    ran = kernel.ok(magic("--wait", flood))
    # A terminal status may come before the log's end has been read.
    while "the end" not in kernel.last(ran.view)["text/html"]:
        kernel.receive(time.monotonic() + 20)
    assert float(kernel.ok(used).printed) - before < 1.5


def test_several_learners_are_told_apart(kernel):
    ran = kernel.ok(magic("--learners 2 --wait", "import os; print('I am', os.environ['RANK'])"))
    html = kernel.until(ran.view, "Completed")["text/html"]
    while not ("I am 0" in html and "I am 1" in html):
        kernel.receive(time.monotonic() + 20)
        html = kernel.last(ran.view)["text/html"]
    assert "1│" in html
    assert "2│" in html
    assert kernel.ok(f"%ffdl logs {ran.training_id} --learner 2").printed == "I am 1\n"


def test_a_manifest_lends_its_settings_to_a_cell(kernel):
    text = (
        "name: lent\ncpus: 2 # cores\nframework:\n  name: pytorch\n  version: '2'\n  command: x\n"
    )
    kernel.ok(f"open('m.yml', 'w').write({text!r});")
    ran = kernel.ok(magic("--manifest m.yml --memory 1Gb --as t --wait", "print('cell')"))
    assert '"lent"' in plain(ran)
    facts = kernel.ok("print(t.info['framework'], t.info['training']['cpus'], *t.logs())").printed
    assert "pytorch" in facts
    assert facts.endswith("2 cell\n")


def test_a_manifest_is_submitted_with_its_folder(kernel):
    kernel.ok(
        "import os; os.makedirs('model', exist_ok=True)\n"
        "open('model/go.py', 'w').write('print(42)')\n"
        "text = 'name: man\\nframework: {name: custom, version: x, command: python3 go.py}'\n"
        "open('model/manifest.yml', 'w').write(text)\n"
        "open('manifest.yml', 'w').write(text);"
    )
    for line in ("model/manifest.yml", "manifest.yml model", "manifest.yml model --name other"):
        ran = kernel.ok(f"%ffdl_train {line} --wait")
        assert kernel.ok(f"%ffdl logs {ran.training_id} --tail 3").printed.count("42") == 1


def test_a_training_inside_a_training_is_refused(kernel):
    body = "import jupyter_ffdl\njupyter_ffdl.train('train.py')\n"
    ran = kernel.ok(magic("", body))
    assert "nested=True" in kernel.until(ran.view, "Failed")["text/html"]


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("%%ffdl_train --gp", "--gpus"),
        ("%ffdl_train one.py --mem", "--memory"),
        ("%%ffdl_train --cells ", "this"),
        ("%ffdl sh", "show"),
        ("%ffdl logs --fol", "--follow"),
        ("%ffdl list --status COM", "COMPLETED"),
    ],
)
def test_tab_completes(kernel, line, match):
    assert match in kernel.complete(line)


def test_tab_completes_ids(kernel):
    ran = kernel.ok("%ffdl_train one.py")
    assert ran.training_id in kernel.complete("%ffdl show training-")


def test_the_help_tells_of_the_options(kernel):
    message = kernel.send(
        "inspect_request", {"code": "%%ffdl_train", "cursor_pos": 5, "detail_level": 0}
    )
    while True:
        reply = kernel.receive(time.monotonic() + 20)
        if reply["parent_header"].get("msg_id") == message and reply["msg_type"] == "inspect_reply":
            break
    assert "--max-runtime" in reply["content"]["data"]["text/plain"]
