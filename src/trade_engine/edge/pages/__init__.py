"""Pages for people, served by the engine: trading, and the operator's console.

Fixed files, plain modules for browsers that speak to the API as everybody does.  They know no more than its clients,
and need nothing from elsewhere: their policy forbids browsers to ask.
"""
