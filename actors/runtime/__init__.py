"""The runtime of actors: mailboxes, contexts, the live worker host and the virtual host."""
