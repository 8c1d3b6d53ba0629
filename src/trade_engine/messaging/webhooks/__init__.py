"""Events as signed webhooks: from the queue ``notification.service.trades`` to endpoints that operators registered.

    queue -> intake: which endpoints want it -> rows of the database, in one transaction -> acknowledged
    rows -> lanes: an endpoint and a market, oldest first -> sender: signed, to a judged address -> delivered
         -> failed: tried again later, the lane waits; 20 times: a dead letter, and the endpoint is paused

At least once, in order for each endpoint and market.  No endpoint's slowness reaches another: what waits is in the
database, and each endpoint has connections and tasks of its own, bounded in number.
"""
