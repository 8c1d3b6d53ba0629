"""Events for other services, over RabbitMQ: told from the journal of committed batches, in order, at least once.

``relay`` reads on from where it stands (``source``), turns batches into messages (``telling``, ``events``), hands them
to RabbitMQ (``broker``, ``topology``) and moves on once they are confirmed.  Trading never waits for any of it.
"""
