"""The section of a configuration that says where a run's rows go: `[store]`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from engine.venue_config import SecretRef, Section

# The tables whose old rows may go, as `actors.persistence.tables` names them.
KEPT_TABLES = ("intents", "reports", "fills", "discrepancies", "slippage")


class StoreConfig(Section):
    """Where the journal's entries become rows: a SQLite file in the state directory, or PostgreSQL.

    `keep_days` says per table how many days of rows stay when `ringlane store archive` runs, or the engine
    does the same every `archive_every_s` (0 = never by itself); a table that is not named keeps all.
    `archive` is the directory or fsspec address that older rows go to first. `mirror` is the address of a
    Redis or Valkey server that gets the newest tops of books, positions and status.
    """

    kind: Literal["sqlite", "postgres", "off"] = "sqlite"
    path: str | None = None
    url: SecretRef | None = None
    interval_s: float = Field(default=0.2, gt=0.0, le=60.0)
    keep_days: dict[str, int] = Field(default_factory=dict)
    archive: str | None = None
    archive_every_s: float = Field(default=0.0, ge=0.0, le=604_800.0)
    mirror: SecretRef | None = None
    mirror_interval_s: float = Field(default=0.5, ge=0.05, le=60.0)
    mirror_expiry_s: int = Field(default=10, ge=1, le=86_400)

    @field_validator("keep_days")
    @classmethod
    def _tables_exist(cls, value: dict[str, int]) -> dict[str, int]:
        for name, days in value.items():
            if name not in KEPT_TABLES:
                raise ValueError(f'no table "{name}"; there are: {", ".join(KEPT_TABLES)}')
            if days < 1:
                raise ValueError(f"{name}: {days} days; at least 1 must stay")
        return value

    @model_validator(mode="after")
    def _reachable(self) -> StoreConfig:
        if (self.kind == "postgres") != (self.url is not None):
            raise ValueError(
                'kind = "postgres" needs url = { env = "NAME" } or { file = "PATH" }'
                if self.url is None
                else f'url belongs to kind = "postgres", not to "{self.kind}"'
            )
        if self.path is not None and self.kind != "sqlite":
            raise ValueError(f'path belongs to kind = "sqlite", not to "{self.kind}"')
        if self.archive_every_s and (self.archive is None or not self.keep_days or self.kind == "off"):
            raise ValueError("archive_every_s needs a database, archive = … and keep_days = { table = days }")
        return self


def store_settings(store: StoreConfig, pairs: int) -> dict[str, Any]:
    """Settings of the actor `store`, but for its gateways."""
    settings: dict[str, Any] = {"kind": store.kind, "interval_s": store.interval_s, "pairs": pairs}
    if store.path is not None:
        settings["path"] = store.path
    if store.archive_every_s and store.archive is not None:
        settings |= {
            "archive": store.archive, "keep_days": store.keep_days, "archive_every_s": store.archive_every_s
        }  # fmt: skip
    return settings | _place("url", store.url)


def mirror_settings(store: StoreConfig, pairs: int) -> dict[str, Any]:
    """Settings of the actor `mirror`."""
    return {
        "interval_s": store.mirror_interval_s,
        "expiry_s": store.mirror_expiry_s,
        "pairs": pairs,
        **_place("url", store.mirror),
    }


def _place(name: str, ref: SecretRef | None) -> dict[str, Any]:
    if ref is None:
        return {}
    return {f"{name}_env": ref.env} if ref.env is not None else {f"{name}_file": ref.file}
