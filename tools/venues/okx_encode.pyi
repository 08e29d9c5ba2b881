from tools.venues.encoding import Encoder

CHANNELS: tuple[str, ...]

class OkxEncoder(Encoder):
    def __init__(self, with_checksum: bool = False) -> None: ...
