"""The manifest's ``data_stores``: where data come from and results go (FfDL contract §1.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from .section import Section, shown

Role = Literal["input", "output"]

_LOGIN = ("auth_url", "user_name", "password")
REQUIRED: Mapping[str, tuple[str, ...]] = {
    "mount_cos": _LOGIN,
    "s3_datastore": _LOGIN,
    "host_mount": ("path",),
    # Alone it says nothing: connection.type says what is mounted.
    "mount_volume": ("type",),
    "swift_datastore": _LOGIN,
    "softlayer_objectstore": _LOGIN,
    "bluemix_objectstore": _LOGIN,
}
"""The types, and the keys of ``connection`` that each needs."""

_CONNECTION = (*_LOGIN, "region", "domain_name", "project_id", "type", "path", "name")
_MAX_STORES = 100


@dataclass(frozen=True)
class DataStore:
    """One store. ``type`` is the effective one, since ``connection.type`` overrides ``type``.

    ``data`` is the input bucket, None where the store has no ``training_data``. ``results`` is the
    bucket of results, None where the store has no ``training_results``, and empty where that names
    no bucket: then results go to the internal store. ``connection`` holds secrets.
    ``path`` and ``line``: where it stands, for refusals.
    """

    id: str
    type: str
    connection: Mapping[str, str] = field(repr=False)
    data: str | None = None
    results: str | None = None
    line: int | None = None
    path: str = ""

    def reference(self, role: Role) -> str:
        """Return the name that JSON and messages use: ``<id>-input`` or ``<id>-output``."""
        return f"{self.id}-{role}"

    @property
    def region(self) -> str:
        """The region, with FfDL's default."""
        return self.connection.get("region") or "us-standard"

    @property
    def s3(self) -> bool:
        """Whether the store speaks S3."""
        return self.type in {"mount_cos", "s3_datastore"}

    @property
    def mounted(self) -> bool:
        """Whether its directories lie under ``/mnt``, not ``/job`` (FfDL contract §5.1)."""
        return self.type != "s3_datastore"


CheckStore = Callable[[DataStore, Role], None]
"""Tries to reach a store (rules 19 and 20 of §1.9), or refuses it; raises ``BadInput``."""


def read(top: Section) -> tuple[tuple[DataStore, Section], ...] | None:
    """Return the stores unchecked, with their places; None where the manifest has none."""
    sections = top.sections("data_stores", at_most=_MAX_STORES)
    if sections is None:
        return None
    return tuple((_store(section), section) for section in sections)


def _store(section: Section) -> DataStore:
    section.expect(("id", "type", "training_data", "training_results", "connection"))
    connection = section.section("connection")
    given: dict[str, str] = {}
    if connection is not None:
        connection.expect(_CONNECTION)
        given = {key: connection.text(key) for key in connection}
    return DataStore(
        id=section.text("id"),
        type=given.get("type") or section.text("type"),
        connection=given,
        data=_container(section, "training_data"),
        results=_container(section, "training_results"),
        line=section.line(),
        path=section.path,
    )


def _container(section: Section, key: str) -> str | None:
    inner = section.section(key)
    if inner is None:
        return None
    inner.expect(("container",))
    return inner.text("container")


def check(
    top: Section,
    stores: Iterable[tuple[DataStore, Section]] | None,
    check_store: CheckStore | None = None,
) -> tuple[DataStore, ...]:
    """Refuse stores that cannot work (FfDL contract §1.9, rules 12 to 20)."""
    if stores is None:
        return ()
    stores = list(stores)
    if not stores:
        raise top.refuse(
            "data_stores",
            "Data stores is empty",
            hint="Leave data_stores out where a training needs no store",
        )
    inputs = [(store, section) for store, section in stores if store.data is not None]
    outputs = [(store, section) for store, section in stores if store.results is not None]
    if not inputs:
        raise top.refuse(
            "data_stores",
            "Training input data is not set",
            hint="Add training_data with a container to one store",
        )
    if len(outputs) > 1:
        raise outputs[1][1].refuse(
            "training_results",
            "Training output data can only contain one id",
            hint="Keep training_results in one store only",
        )
    for store, section in inputs:
        _check_one(store, section, "input", check_store)
    for store, section in outputs:
        _check_one(store, section, "output", check_store)
    return tuple(store for store, _ in stores)


def _check_one(
    store: DataStore, section: Section, role: Role, check_store: CheckStore | None
) -> None:
    if not store.id.strip():
        raise section.refuse("id", "Data store id is not set", hint="Add an id, any name will do")
    if store.type not in REQUIRED:
        raise section.refuse(
            "type",
            f"Invalid data store name: {shown(store.type)}. Must be one of: "
            f"{', '.join(name for name in REQUIRED if name != 'host_mount')}",
            hint="mount_volume with connection.type host_mount uses a directory of this machine",
        )
    connection = section.section("connection")
    if connection is None or not store.connection:
        raise section.refuse(
            "connection",
            "Data store connection info not set",
            hint=f"Add connection with {', '.join(REQUIRED[store.type])}",
        )
    if role == "input" and not store.data:
        place = section.section("training_data") or section
        raise place.refuse(
            "container",
            "Data store bucket is not set",
            hint="Name the bucket that holds the data: training_data.container",
        )
    for key in REQUIRED[store.type]:
        if not store.connection.get(key):
            raise connection.refuse(
                key,
                f"Data store authentication information for id '{store.reference(role)}' "
                "incorrect or there is a connection problem",
                code="C103",
                hint=f"Add connection.{key}" + (": host_mount" if key == "type" else ""),
            )
    if check_store is not None:
        check_store(store, role)
