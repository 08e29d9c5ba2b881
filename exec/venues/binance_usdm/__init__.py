"""Order entry at Binance USD-M Futures: websocket API, REST and the user data stream."""
