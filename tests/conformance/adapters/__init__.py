"""One module a client: ``Account`` tells the stories' words in that client's own."""
