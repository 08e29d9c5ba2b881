from feeds.decoder import Decoder

class BinanceUsdmDecoder(Decoder):
    def __init__(self) -> None: ...
