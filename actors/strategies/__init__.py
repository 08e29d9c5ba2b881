"""Trading strategies: actors that read books and write intents."""
