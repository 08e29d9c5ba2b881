from feeds.decoder import Decoder

class BybitDecoder(Decoder):
    def __init__(self) -> None: ...
