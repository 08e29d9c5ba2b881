from collections.abc import Callable

from exec.order import Order

REQUEST: str
ORDER_HEX: str
ORDER_ID: str
UNITS: str
PRICE: str
NEW_UNITS: str
NEW_PRICE: str
TIME_MS: str
LATER_MS: str
SIGNATURE: str

class Text: ...

class Form:
    def __init__(
        self, text: str, price_exponent: int = 0, units_exponent: int = 0, later_ms: int = 0
    ) -> None: ...
    @property
    def text(self) -> bytes: ...
    @property
    def price_exponent(self) -> int: ...
    @property
    def units_exponent(self) -> int: ...
    @property
    def later_ms(self) -> int: ...

class FormBook:
    def __init__(self, make: Callable[[int, Order], object]) -> None: ...
    def clear(self) -> None: ...

class Composer:
    def __init__(self, make: Callable[[int, Order], Form]) -> None: ...
    @property
    def book(self) -> FormBook: ...
    def frame(
        self, kind: int, orders: list[Order], head: Form, tail: Form, request_id: int, utc_ms: int
    ) -> bytes: ...

class SigningComposer:
    def __init__(
        self, make: Callable[[int, Order], tuple[Form | None, Form]], sign: Callable[[bytes], bytes]
    ) -> None: ...
    @property
    def book(self) -> FormBook: ...
    def frame(self, kind: int, order: Order, request_id: int, utc_ms: int) -> bytes: ...
