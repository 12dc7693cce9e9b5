"""Which service a kernel talks to, with real servers of every kind, and with none at all."""

from __future__ import annotations

import contextlib
import http.cookiejar
import json
import os
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_ffdl.notebook import discovery
from jupyter_ffdl.notebook.connection import service_url
from kernels import Kernel
from serving import Server, serving, until

# One server and one kernel serve them all.
pytestmark = pytest.mark.xdist_group("notebook")

ROOT = Path(__file__).resolve().parents[2]
TRAIN = "%%ffdl_train --wait\nprint('ran')"


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://host:8888", "http://host:8888/ffdl"),
        ("http://host:8888/", "http://host:8888/ffdl"),
        ("http://host/user/me/ffdl", "http://host/user/me/ffdl"),
        ("http://host/user/me/ffdl/v1/", "http://host/user/me/ffdl"),
        ("host:8888/ffdl", "http://host:8888/ffdl"),
    ],
)
def test_an_address_may_be_the_server_or_the_service(given, url):
    assert service_url(given) == url


def test_settings_come_first_ours_before_those_of_ffdl():
    environment = {
        "FFDL_URL": "http://one",
        "FFDL_TOKEN": "t",
        "DLAAS_URL": "two:1/ffdl",
        "DLAAS_USERNAME": "u",
        "DLAAS_PASSWORD": "p",
    }
    assert discovery.find(environment).url == "http://one/ffdl"
    del environment["FFDL_URL"]
    found = discovery.find(environment)
    assert (found.url, found.authorization) == ("http://two:1/ffdl", "Basic dTpw")


def test_a_password_may_stand_in_the_address():
    found = discovery.find({"DLAAS_URL": "http://u:p@two:1/ffdl"})
    assert (found.url, found.authorization) == ("http://two:1/ffdl", "Basic dTpw")


@pytest.mark.parametrize(
    ("environment", "files", "said"),
    [
        pytest.param(
            {"JPY_PARENT_PID": "4"}, ["jpserver-4.json"], "A Jupyter server", id="without us"
        ),
        pytest.param({"EG_SSH_PORT": "1"}, [], "gateway", id="behind a gateway"),
    ],
)
def test_a_server_that_cannot_be_reached_is_not_replaced(
    tmp_path, monkeypatch, environment, files, said
):
    monkeypatch.setattr(discovery, "SETTLE_SECONDS", 0.2)
    for name in files:
        (tmp_path / name).write_text("{}")
    with pytest.raises(discovery.NoService) as error:
        discovery.find({"JUPYTER_RUNTIME_DIR": str(tmp_path), **environment})
    assert said in str(error.value)
    assert "FFDL_URL" in str(error.value)
    assert "panel" in str(error.value)


def environment_of(home: Path) -> dict[str, str]:
    """Return an environment in which nothing of Jupyter's is known but our own folders."""
    names = ("JUPYTER", "JPY", "FFDL", "DLAAS")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(names)},
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_NO_CONFIG": "1",
    }


def python(code: str, home: Path, interpreter: str = sys.executable, **more: str) -> str:
    """Run Python code in a process of its own and return what it printed."""
    home.mkdir(exist_ok=True)
    done = subprocess.run(
        [interpreter, "-c", code],
        env={**environment_of(home), **more},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


SUBMIT = """\
import jupyter_ffdl
open("a.py", "w").write("print('ran')")
t = jupyter_ffdl.train("a.py")
print(t.wait(60), list(t.logs()))
"""


def log_in(server: Server, password: str) -> dict[str, str]:
    """Log in as a browser does; return the headers of its further requests."""
    jar = http.cookiejar.CookieJar()
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    login = f"http://127.0.0.1:{server.port}{server.base}login"
    opener.open(login, timeout=20).read()
    xsrf = next(cookie.value for cookie in jar if cookie.name == "_xsrf")
    form = urllib.parse.urlencode({"password": password, "_xsrf": xsrf}).encode()
    opener.open(login, form, timeout=20).read()
    cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in jar)
    return {"Cookie": cookies, "X-XSRFToken": str(xsrf)}


@pytest.mark.slow
def test_a_password_server_is_no_different(tmp_path):
    from jupyter_server.auth import passwd

    hashed = passwd("open sesame", "sha1")
    with serving(
        tmp_path, f"--PasswordIdentityProvider.hashed_password={hashed}", token="", base="/u/me/"
    ) as server:
        kernel = Kernel(server, headers=log_in(server, "open sesame"))
        ran = kernel.ok(f"%load_ext jupyter_ffdl\nget_ipython().run_cell({TRAIN!r});")
        assert "Completed" in kernel.until(ran.view, "Completed")["text/plain"]
        kernel.stop()


def test_a_kernel_behind_a_wrapper_finds_its_server(tmp_path, server):
    """A kernel may be started by a script: its server is then further above than its parent."""
    code = f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', {SUBMIT!r}]))"
    kernel = Kernel(server, "wrapped.ipynb")
    call = f"subprocess.check_output([sys.executable, '-c', {code!r}], text=True)"
    ran = kernel.ok(f"import subprocess, sys\nprint({call})")
    assert "COMPLETED ['ran']" in ran.printed
    kernel.stop()


def test_a_running_jupyter_ffdl_is_found(tmp_path):
    with serving(tmp_path, standalone=True) as server:
        assert python(SUBMIT, tmp_path) == "COMPLETED ['ran']\n"
        assert len(server.get("v1/models").json["models"]) == 1


@contextlib.contextmanager
def started(home: Path) -> Iterator[list[Path]]:
    """Give the records of services that were started, and end those services."""
    records: list[Path] = []
    try:
        yield records
    finally:
        for path in (home / "runtime").glob("ffdl-server-*.json"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(json.loads(path.read_bytes())["pid"], signal.SIGTERM)
        until(lambda: not list((home / "runtime").glob("ffdl-server-*.json")), seconds=20)


@pytest.mark.slow
def test_with_none_at_all_two_kernels_start_one_and_say_so(tmp_path):
    with started(tmp_path):
        both = [
            subprocess.Popen(
                [sys.executable, "-c", SUBMIT],
                env=environment_of(tmp_path),
                cwd=tmp_path,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        said = [process.communicate(timeout=90)[0] for process in both]
        assert all(text.endswith("COMPLETED ['ran']\n") for text in said)
        assert sum("a service was started" in text for text in said) == 1
        assert len(list((tmp_path / "runtime").glob("ffdl-server-*.json"))) == 1


@pytest.mark.slow
def test_a_follower_survives_a_killed_service_and_loses_no_line(tmp_path):
    """The kernel outlives ``jupyter ffdl``: it starts the next one, and goes on at its cursor."""
    code = """\
import jupyter_ffdl
open("a.py", "w").write('''
import time
for n in range(60):
    print("line", n, flush=True)
    time.sleep(0.1)
''')
t = jupyter_ffdl.train("a.py")
for line in t.logs(follow=True):
    print(line, flush=True)
print(t.wait(60), flush=True)
"""
    with started(tmp_path):
        first = Server(tmp_path, standalone=True)
        kernel = subprocess.Popen(
            [sys.executable, "-u", "-c", code],
            env=environment_of(tmp_path),
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert kernel.stdout is not None
        said = [kernel.stdout.readline().strip() for _ in range(10)]
        first.stop(signal.SIGKILL)
        said += kernel.communicate(timeout=60)[0].splitlines()
    seen = [line for line in said if "a service was started" not in line]
    assert len(said) == len(seen) + 1
    assert seen == [*(f"line {n}" for n in range(60)), "COMPLETED"]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python with nothing but its standard library and, on its path, our package."""
    home = tmp_path_factory.mktemp("bare")
    venv.create(home, with_pip=False)
    site = next((home / "lib").glob("python3*")) / "site-packages"
    (site / "ours.pth").write_text(f"{ROOT}\n")
    return str(home / "bin" / "python")


def test_the_client_needs_nothing_but_the_standard_library(tmp_path, server, bare):
    said = python(
        SUBMIT + "print(t)\nt.scalars(); t.results.list(); t.source()\n",
        tmp_path,
        bare,
        FFDL_URL=f"http://127.0.0.1:{server.port}{server.base}",
        FFDL_TOKEN=server.token,
    )
    assert said.startswith("COMPLETED ['ran']\nTraining training-")


def test_every_module_but_the_magics_loads_with_the_standard_library_alone(tmp_path, bare):
    code = """\
import importlib, pkgutil, sys
import jupyter_ffdl.notebook as package
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not module.name.endswith(".magics"):
        importlib.import_module(module.name)
        print(module.name)
"""
    assert len(python(code, tmp_path, bare).splitlines()) > 20


def test_without_a_server_a_bare_environment_says_what_to_do(tmp_path, bare):
    code = """\
import jupyter_ffdl
try:
    jupyter_ffdl.trainings()
except Exception as e:
    print(e)
"""
    said = python(code, tmp_path, bare)
    assert "jupyter ffdl" in said
    assert "FFDL_URL" in said


def test_plain_ipython_prints_lines(tmp_path, server):
    said = subprocess.run(
        [sys.executable, "-m", "IPython", "--no-banner", "--simple-prompt", "--colors=nocolor"],
        input="%load_ext jupyter_ffdl\nopen('a.py', 'w').write('print(1)');\n"
        "%ffdl_train a.py --wait\n%ffdl logs\n%ffdl_train a.py --gpu\n",
        env={
            **environment_of(tmp_path),
            "IPYTHONDIR": str(tmp_path / "ipython"),
            "FFDL_URL": f"http://127.0.0.1:{server.port}{server.base}",
            "FFDL_TOKEN": server.token,
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert said.stdout.count("Training training-") == 1
    assert "UsageError: There is no option --gpu. Did you mean --gpus?" in said.stdout + said.stderr


def test_plain_python_says_what_it_started_and_the_doctor_agrees(tmp_path):
    with serving(tmp_path, standalone=True):
        said = python(
            "from jupyter_ffdl.notebook import client, doctor\n"
            "report = doctor.examine(client.default_service()); print(report, report.good)",
            tmp_path,
        )
    assert "✓ service: http" in said
    assert "a running `jupyter ffdl`" in said
    assert said.endswith("True\n")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("http://127.0.0.1:9", "No answer from http://127.0.0.1:9/ffdl"),
        ("ftp://host", "is not an address"),
        ("http://host:port", "is not an address"),
    ],
)
def test_the_doctor_names_what_is_wrong_and_how_to_fix_it(tmp_path, setting, said):
    report = python(
        "from jupyter_ffdl.notebook import client, doctor\n"
        "print(doctor.examine(client.default_service()))",
        tmp_path,
        FFDL_URL=setting,
    )
    assert f"✗ service: {said}" in report or said in report
    assert "→" in report
