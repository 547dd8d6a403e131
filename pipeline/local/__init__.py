"""One user on one machine: the pages without a server of their own."""
