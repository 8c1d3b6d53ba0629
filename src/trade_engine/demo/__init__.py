"""What ``serve --demo`` adds to an engine: users with funds, a market maker and takers, so that its markets live."""
