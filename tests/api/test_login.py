"""Who gets in: every route, every way (FfDL contract §2.1)."""

from __future__ import annotations

import base64
import json
import re

import pytest

from jupyter_ffdl.api.app import OPEN_BY_TRAIT, OPEN_ROUTES
from jupyter_ffdl.api.routes import ROUTES
from serving import TOKEN, Server, serving

ID = "training-aaaaaaaaaaaa"
CALLS = [
    pytest.param(
        operation.method,
        route.path.replace("{id}", ID).replace("{path}", "a/b.txt"),
        id=f"{operation.method} {route.path}",
    )
    for route in ROUTES
    for operation in route.operations
]
CLOSED = [call for call in CALLS if f"ffdl/{call.values[1]}" not in OPEN_ROUTES]


def basic(user: str, password: str) -> dict[str, str]:
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def cookies(server: Server) -> dict[str, str]:
    """Log in as a browser does, and return its cookies with the XSRF token."""
    answer = server.request("GET", f"{server.base}api/status?token={server.token}", login=False)
    assert answer.status == 200
    jar = [value.split(";")[0] for value in answer.headers.get_all("Set-Cookie")]
    page = server.request("GET", f"{server.base}login", login=False)
    more = [value.split(";")[0] for value in page.headers.get_all("Set-Cookie") or ()]
    jar += [cookie for cookie in more if cookie.startswith("_xsrf")]
    return {"Cookie": "; ".join(jar)}


def xsrf(jar: dict[str, str]) -> dict[str, str]:
    token = re.search(r"_xsrf=([^;]+)", jar["Cookie"])
    assert token, jar
    return {"X-XSRFToken": token[1]}


def refused(answer) -> None:
    assert answer.status == 401
    assert answer.json["error"] == "Unauthorized"
    assert answer.json["code"] == 401
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["WWW-Authenticate"] is None
    assert answer.headers["Location"] is None


@pytest.mark.parametrize(("method", "path"), CLOSED)
def test_nobody_gets_in_without_a_login(server, method, path):
    refused(server.request(method, path, login=False))


@pytest.mark.parametrize(("method", "path"), CLOSED)
def test_a_wrong_header_is_refused_even_beside_a_valid_cookie(server, method, path):
    jar = cookies_of(server)
    for wrong in ({"Authorization": "token wrong"}, basic("me", "wrong"), {"Authorization": "x"}):
        refused(server.request(method, path, login=False, headers={**jar, **wrong}))


@pytest.mark.parametrize(("method", "path"), CLOSED)
def test_another_sites_page_cannot_use_the_cookie(server, method, path):
    headers = {**cookies_of(server), "Origin": "http://elsewhere.example"}
    answer = server.request(method, path, login=False, headers=headers)
    assert answer.status == 403
    assert answer.headers["Access-Control-Allow-Origin"] in (None, "")


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Watson-Authorization-Token": TOKEN},
        {"X-WML-TenantID": "tenant"},
        {"X-DLaaS-UserID": "user"},
        {"X-Watson-Userinfo": "bluemix-instance-id=me"},
        {"Authorization": f"Digest {TOKEN}"},
        {"Authorization": "Basic not-base64!"},
        {"Authorization": "token "},
        {"Authorization": ""},
    ],
)
def test_what_is_no_login(server, headers):
    refused(server.request("GET", "v1/models", login=False, headers=headers))
    refused(server.request("GET", f"v1/models?watson-token={TOKEN}", login=False))


def test_open_routes_are_those_of_the_list():
    opened = {
        f"ffdl/{route.path}"
        for route in ROUTES
        for operation in route.operations
        if hasattr(getattr(route.handler, operation.method.lower()), "__allow_unauthenticated")
    }
    assert opened == set(OPEN_ROUTES)
    by_trait = {f"ffdl/{route.path}" for route in ROUTES if route.handler.opens_with_trait}
    assert by_trait == set(OPEN_BY_TRAIT)
    described = {f"ffdl/{r.path}" for r in ROUTES if any(o.open for o in r.operations)}
    assert described == set(OPEN_ROUTES)


def test_every_verb_is_authenticated_and_authorized():
    for route in ROUTES:
        for operation in route.operations:
            verb = getattr(route.handler, operation.method.lower())
            if hasattr(verb, "__allow_unauthenticated"):
                continue
            names = []
            while verb is not None:
                names.append(verb.__code__.co_filename.rpartition("/")[2])
                verb = getattr(verb, "__wrapped__", None)
            assert names[:2] == ["web.py", "decorator.py"], (route.path, operation.method)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(lambda _: {"Authorization": f"token {TOKEN}"}, id="token"),
        pytest.param(lambda _: {"Authorization": f"Bearer {TOKEN}"}, id="bearer"),
        pytest.param(lambda _: basic("anybody", TOKEN), id="basic with the token"),
        pytest.param(lambda s: {"Authorization": f"token {s.record['secret']}"}, id="secret"),
        pytest.param(lambda s: basic("x", s.record["secret"]), id="basic with the secret"),
        pytest.param(cookies, id="cookie"),
    ],
)
def test_ways_in(server, headers):
    assert server.request("GET", "v1/models", login=False, headers=headers(server)).status == 200


def test_the_secret_opens_nothing_but_ours(server):
    headers = {"Authorization": f"token {server.record['secret']}"}
    answer = server.request("GET", f"{server.base}api/contents", login=False, headers=headers)
    assert answer.status == 403


def test_a_cookie_alone_changes_nothing_without_its_xsrf_token(server, finished):
    jar = cookies(server)
    body = json.dumps({"archived": False})
    path = f"v1/models/{finished}"
    assert server.request("PATCH", path, body, jar, login=False).status == 403
    assert server.request("PATCH", path, body, {**jar, **xsrf(jar)}, login=False).status == 200
    # A token in the address can stand in a page of another site: it is no exemption.
    answer = server.request("PATCH", f"{path}?token={TOKEN}", body, login=False)
    assert answer.status == 403


def test_all_ways_in_see_the_same_trainings(server, finished):
    for headers in (basic("somebody", TOKEN), cookies(server), server.authorization):
        models = server.request("GET", "v1/models", login=False, headers=headers).json["models"]
        assert finished in {model["model_id"] for model in models}


def test_preflight_allows_what_old_and_new_clients_send(server):
    headers = {
        "Origin": "http://elsewhere.example",
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "authorization",
    }
    answer = server.request("OPTIONS", "v1/models", login=False, headers=headers)
    assert answer.status == 204
    assert "PATCH" in answer.headers["Access-Control-Allow-Methods"]
    allowed = answer.headers["Access-Control-Allow-Headers"]
    for name in ("content-type", "authorization", "x-watson-userinfo"):
        assert name in allowed
    assert "x-watson-authorization-token" in allowed


def test_a_websocket_of_another_origin_needs_the_header(server, finished):
    import websocket

    path = f"v1/models/{finished}/logs"
    with_header = server.socket(path, origin="http://localhost/")
    assert with_header.recv()
    with_header.close()
    with pytest.raises(websocket.WebSocketBadStatusException) as refusal:
        server.socket(path, cookies(server), origin="http://elsewhere.example")
    assert refusal.value.status_code == 403
    with pytest.raises(websocket.WebSocketBadStatusException) as refusal:
        server.socket(path, {})
    assert refusal.value.status_code == 401


def test_a_foreign_host_name_is_refused(server):
    assert server.request("GET", "v1/models", headers={"Host": "evil.example"}).status == 403


def test_health_needs_no_login(server):
    answer = server.request("GET", "health", login=False)
    assert (answer.status, answer.text) == (200, "OK")


_jars: dict[int, dict[str, str]] = {}


def cookies_of(server: Server) -> dict[str, str]:
    if server.port not in _jars:
        _jars[server.port] = cookies(server)
    return _jars[server.port]


@pytest.fixture(scope="module")
def open_logs(tmp_path_factory):
    home = tmp_path_factory.mktemp("open")
    with serving(home, "--FfdlApp.allow_unauthenticated_logs=True", standalone=True) as server:
        yield server


def test_the_trait_opens_logs_and_metrics_to_whoever_knows_the_id(open_logs):
    training_id = open_logs.submit("print('hello')")
    open_logs.wait(training_id)
    for what in ("logs", "metrics"):
        answer = open_logs.request("GET", f"v1/models/{training_id}/{what}", login=False)
        assert answer.status == 200
        assert open_logs.request("GET", f"v1/models/{ID}/{what}", login=False).status == 404
    assert "hello" in open_logs.request("GET", f"v1/models/{training_id}/logs", login=False).text
    refused(open_logs.request("GET", f"v1/models/{training_id}", login=False))
    refused(
        open_logs.request(
            "GET",
            f"v1/models/{training_id}/logs",
            login=False,
            headers={"Authorization": "token wrong"},
        )
    )


PROVIDER = """
from jupyter_server.auth.identity import IdentityProvider, User

class People(IdentityProvider):
    async def get_user(self, handler):
        token = self.get_token(handler)
        if token in ("anna", "berta"):
            handler._token_authenticated = True
            return User(token)
        name = handler.get_cookie("who")
        return User(name) if name in ("anna", "berta") else None
"""


def test_where_people_are_told_apart_each_sees_their_own(tmp_path):
    (tmp_path / "people.py").write_text(PROVIDER)
    arguments = ["--ServerApp.identity_provider_class=people.People"]
    env = {"PYTHONPATH": str(tmp_path)}
    with serving(tmp_path / "home", *arguments, standalone=True, env=env) as server:
        server.token = "anna"
        training_id = server.submit("print(1)")
        berta = basic("anna", "berta")
        wrong = {"Cookie": "who=anna", "Authorization": "token carla"}
        for what in ("", "/logs", "/metrics", "/timeline", "/results", "/stream", "/definition"):
            path = f"v1/models/{training_id}{what}"
            assert server.request("GET", path, login=False, headers=berta).status == 404
            refused(server.request("GET", path, login=False, headers=wrong))
        for method, body in (("PATCH", {"status": "halt"}), ("DELETE", None)):
            path = f"v1/models/{training_id}"
            answer = server.request(method, path, body, berta, login=False)
            assert answer.status == 404
        assert server.request("GET", "v1/models", login=False, headers=berta).json["models"] == []
        assert server.get("v1/models").json["models"][0]["model_id"] == training_id
        refused(server.request("GET", "v1/models?token=anna", login=False, headers=wrong))
        server.wait(training_id)
