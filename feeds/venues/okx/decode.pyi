from feeds.decoder import Decoder

class OkxDecoder(Decoder):
    def __init__(self) -> None: ...
