"""The account actor: all signed HTTP of a run, on the housekeeping core.

It sends what gateways have signed and gives back status, headers and body as they came; it holds no keys,
counts no rates and retries nothing: who wanted a request decides that.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import httpx

from actors.account_ports import NUMBER_BITS, pack_answer, unpack_request
from actors.feed_ports import raise_error
from actors.runtime import spec as names
from actors.runtime.actor import Actor
from actors.runtime.context import Context
from actors.runtime.host import ORDER_COLD
from actors.runtime.mailboxes import CallSource
from actors.runtime.settings import read_settings
from feeds.transport.tls import client_context
from shm.blobs import Blob, BlobConsumer, BlobProducer
from shm.enums import SegmentKind

STATUS_NO_ANSWER = 0
OFFER_RETRY_NS = 2_000_000
OFFER_RETRIES = 1_000


@dataclass(frozen=True, slots=True)
class RestAccount:
    """One account's REST address.

    Args:
        name: of the account.
        rest_url: base address.
        ca_file: PEM file of a private authority.
        timeout_s: of one request.
    """

    name: str
    rest_url: str
    ca_file: str | None = None
    timeout_s: float = 5.0


@dataclass(frozen=True, slots=True)
class AccountSettings:
    """Settings of the role `account`: one `RestAccount` object per account, in the gateway's order."""

    accounts: list[dict[str, Any]] = field(default_factory=list)


class Account(Actor):
    """The actor; see the module."""

    role: ClassVar[str] = "account"
    is_critical: ClassVar[bool] = True

    def __init__(self, context: Context, settings: Mapping[str, Any]) -> None:
        super().__init__(context, settings)
        rows = read_settings(AccountSettings, settings, self.role).accounts
        self._accounts = [read_settings(RestAccount, row, self.role) for row in rows]
        self._clients: list[httpx.AsyncClient] = []
        self._answers: dict[int, BlobProducer] = {}
        self._requests = context.counter("account.requests")
        self._failures = context.counter("account.failures")
        self._lost = context.counter("account.lost")

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> None:
        """Raise SettingsError for what AccountSettings does not allow."""
        for row in read_settings(AccountSettings, settings, cls.role).accounts:
            read_settings(RestAccount, row, cls.role)

    def on_attach(self) -> None:
        """Open the request ring of every gateway and the ring back."""
        host, slot = self.context.host, self.context.host.spec.slot
        for gateway in host.spec.gateways:
            requests = BlobConsumer(
                host.inbound(names.rest_requests_name(gateway, slot), SegmentKind.BLOB_RING), host.bells
            )
            answers = host.spsc(names.rest_answers_name(slot, gateway), SegmentKind.BLOB_RING)
            self._answers[gateway] = BlobProducer(answers, host.bells, slot)
            host.add_source(CallSource(ORDER_COLD, self._poll_of(gateway, requests), requests.pending))

    def on_start(self, *_: Any) -> None:
        """Make a client for each account."""
        for account in self._accounts:
            tls = client_context(account.ca_file) if account.rest_url.startswith("https") else None
            # trust_env off: a proxy variable must not move trading traffic.
            self._clients.append(
                httpx.AsyncClient(
                    base_url=account.rest_url,
                    verify=tls or True,
                    timeout=account.timeout_s,
                    trust_env=False,
                    follow_redirects=False,
                )
            )

    async def on_stop(self) -> None:
        """Close the clients."""
        for client in self._clients:
            await client.aclose()

    def _poll_of(self, gateway: int, requests: BlobConsumer) -> Any:
        def poll(limit: int) -> int:
            blobs = requests.poll(limit)
            for blob in blobs:
                self._spawn(self._serve(gateway, blob))
            return len(blobs)

        return poll

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        def broken(error: Exception) -> None:
            self.context.host.guard(self.context.actor_id, "rest", raise_error, error)

        self.context.host.scheduler.spawn(work, lambda: None, broken)

    async def _serve(self, gateway: int, blob: Blob) -> None:
        self._requests.inc(1)
        index = blob.key >> NUMBER_BITS
        status, headers, body = STATUS_NO_ANSWER, {}, b"no such account"
        if index < len(self._clients):
            method, path, sent_headers, sent_body = unpack_request(blob.body)
            try:
                # httpx would encode the path anew, and the signature is of these very bytes.
                url = self._clients[index].base_url.copy_with(raw_path=path.encode("ascii"))
                reply = await self._clients[index].request(
                    method, url, headers=sent_headers, content=sent_body or None
                )
                status, body = reply.status_code, reply.content
                headers = {name.lower(): value for name, value in reply.headers.items()}
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                # The path holds the signature and stays out of the text.
                body = type(error).__name__.encode()
        if not 200 <= status < 300:
            self._failures.inc(1)
        await self._answer(gateway, blob.key, status, pack_answer(headers, body))

    async def _answer(self, gateway: int, key: int, status: int, body: bytes) -> None:
        for _ in range(OFFER_RETRIES):
            if self._answers[gateway].offer(key, status, body):
                return
            await self.context.sleep(OFFER_RETRY_NS)
        self._lost.inc(1)
