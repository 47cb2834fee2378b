"""Which outside accounts has this person linked? A backend-for-frontend over GenAuth.

The rooms, from the top; a room imports those on its own line and below, by their doors (`from bff.cache import AccountsCache`):

    server          the processes around the application: how it starts, drains and ends
    factory         the application: the order of what a request passes
    web             HTTP in, the only Flask: routes, guards, problems, headers, the response cache
    services        every dependency, built once and handed in
    accounts auth   what a person has linked · whose token this is
    cache genauth   what is remembered, the only Redis · HTTP out, the only requests
    resilience observability   deadline, circuit breaker, bulkhead, single flight · log, metrics, readiness
    models errors settings schemas    values without I/O · the tree of errors · the environment · shapes on the wire

``sandbox``, a GenAuth to develop against, is the other side of the wire: it imports nothing of ours, and only tests and
`make run` start it. ``tests/house/test_house.py`` reads the imports and holds us to this.
"""
