"""Public REST over httpx: one client per venue, bounded in time and size, obeying the request weight."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import httpx

from feeds.errors import TransportError
from feeds.transport.throttle import SECOND_NS, Budget

BODY_BYTES_MAX = 32 * 1024 * 1024
TOO_MANY_REQUESTS = (418, 429)
#: Of venues that ban an address by it ("access too frequent"): to be left alone for ten minutes at least.
FORBIDDEN = 403
FORBIDDEN_NS = 600 * SECOND_NS


class HttpReply(NamedTuple):
    """An answer of any status; header names are lower case."""

    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def is_ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    @property
    def retry_after_ns(self) -> int:
        """How long the venue asks us to stay away, 0 = it does not."""
        text = self.headers.get("retry-after", "")
        return int(text) * SECOND_NS if text.isdigit() else 0


class RestClient:
    """One venue's REST address.

    Refusals by the venue are replies, not errors. After status 418 or 429 nothing is sent until the time in
    retry-after (or `ban_ns`) has passed: asking on makes a ban longer.

    Args:
        base_url: scheme, host and port.
        now_ns: monotonic clock.
        ssl_context: of `feeds.transport.tls`, for a private authority.
        budget: request weight shared by the callers; None = unlimited.
        used_weight_header: header (lower case) in which the venue states the weight used.
        timeout_s: limit of a whole request.
        ban_ns: wait after a refusal that names no time.
        on_refused: told until when the venue wants no request, for others at the same address.
        sleep: how to wait, replaceable in tests.
    """

    def __init__(
        self,
        base_url: str,
        *,
        now_ns: Callable[[], int],
        ssl_context: ssl.SSLContext | None = None,
        budget: Budget | None = None,
        used_weight_header: str = "",
        timeout_s: float = 10.0,
        ban_ns: int = 60 * SECOND_NS,
        on_refused: Callable[[int], None] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.base_url = base_url
        self._now_ns = now_ns
        self._budget = budget
        self._header = used_weight_header
        self._ban_ns = ban_ns
        self._on_refused = on_refused
        self._sleep = sleep
        self._timeout_s = timeout_s
        self._banned_until_ns = 0
        self.requests = 0
        self.failures = 0
        self.refusals = 0
        # trust_env off: a proxy variable must not move trading traffic.
        self._client = httpx.AsyncClient(
            base_url=base_url,
            verify=ssl_context or True,
            timeout=timeout_s,
            trust_env=False,
            follow_redirects=False,
        )

    async def send(self, method: str, path: str, weight: int = 1) -> HttpReply:
        """Send one request when the budget allows it.

        Args:
            method: HTTP method.
            path: path with query, as the venue's adapter makes it.
            weight: its weight in the budget.

        Raises:
            TransportError: no answer (refused connection, timeout, broken transfer), a body over the limit,
            or a
                weight the budget can never hold; names the address.
        """
        await self._wait_budget(path, weight)
        self.requests += 1
        sent_ns = self._now_ns()
        try:
            async with asyncio.timeout(self._timeout_s):
                reply = await self._fetch(method, path)
        except TimeoutError as error:
            self.failures += 1
            raise TransportError(
                f"{method} {self.base_url}{path}: no answer in {self._timeout_s} s"
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            self.failures += 1
            text = str(error) or type(error).__name__
            raise TransportError(f"{method} {self.base_url}{path}: {text}") from error
        now_ns = self._now_ns()
        used = reply.headers.get(self._header, "")
        if self._budget is not None and used.isdigit():
            self._budget.observe_used(now_ns, int(used), sent_ns)
        if reply.status in TOO_MANY_REQUESTS or reply.status == FORBIDDEN:
            self.refusals += 1
            ban_ns = FORBIDDEN_NS if reply.status == FORBIDDEN else self._ban_ns
            self._banned_until_ns = now_ns + (reply.retry_after_ns or ban_ns)
            if self._on_refused is not None:
                self._on_refused(self._banned_until_ns)
        return reply

    async def _fetch(self, method: str, path: str) -> HttpReply:
        async with self._client.stream(method, path) as response:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > BODY_BYTES_MAX:
                    raise TransportError(f"{method} {self.base_url}{path}: body over {BODY_BYTES_MAX} bytes")
            headers = {name.lower(): value for name, value in response.headers.items()}
            return HttpReply(response.status_code, bytes(body), headers)

    async def _wait_budget(self, path: str, weight: int) -> None:
        while True:
            now_ns = self._now_ns()
            due_ns = self._banned_until_ns
            if due_ns <= now_ns:
                if self._budget is None or self._budget.take(now_ns, weight):
                    return
                due_ns = self._budget.next_ns(now_ns, weight)
                if due_ns < 0:
                    raise TransportError(f"{self.base_url}{path}: weight {weight} is beyond the whole budget")
            await self._sleep(max(due_ns - now_ns, 1) / SECOND_NS)

    async def close(self) -> None:
        """Close the client's connections."""
        await self._client.aclose()
