"""An exchange in a box: the whole engine inside a test, for authors of bots; ``pytest_plugin`` hands it out."""
