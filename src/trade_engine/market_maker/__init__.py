"""Making a market: what to quote is a pure function (``ladder``); who quotes it is the demo, or ``over_client``."""
