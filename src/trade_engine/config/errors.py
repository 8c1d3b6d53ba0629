"""What is wrong with the configuration."""


class ConfigError(ValueError):
    """An option is wrong; the message names key, value and reason."""
