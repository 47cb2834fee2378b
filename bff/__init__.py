"""Which outside accounts has this person linked? A backend-for-frontend over GenAuth.

The path of a request for ``GET /me/linked-accounts``:

    web.repeats ─ microcache            asked a moment ago: said again, before anything else
    gate ─ permits                      few compute at a time; who waits for GenAuth steps aside, who asks Redis waits for company
    web.express                         plain questions go on from here, all others by way of Flask (`web.me`)
    web.request_id · web.observing      an id, and in the end one log line (`logs`, `stdout`) and one metric
    web.auth                            the session token, from header or cookie
    sessions                            whose it is: a memo, else `access_tokens` (JWKS) or `introspection`
      keyset ─ keysource ─ keyshelf       GenAuth's signing keys, and those of last time
    ratelimit                           not too often
    linked_accounts                     the use case
      cache ─ remembered, sealing         what is remembered, value by value, sealed
      store ─ roundtrip                   … in Redis; one round trip
      lastresort                          … and in this process, for seconds, while Redis is away
      singleflight ─ leases               one caller asks GenAuth, the others wait: threads, then processes
      genauth.client ─ genauth.wire       bulkhead, breaker, one deadline; the answer as data
      schemas.genauth                     an allow-list: tokens have no field, they end here
      accounts.link, guarding             identities become accounts; a last look for leaks
    web.presenting ─ schemas            the contract's JSON, ETag and Cache-Status

Who may import whom: ``app → bff → schemas → marshmallow``, never back. Within bff: ``factory → web → services → linked_accounts →
edges → values``. One home for each library: requests in genauth, flask in web and the wiring, redis and flask_caching in
backends, roundtrip and store, PyJWT in jwks, prometheus_client in metrics, structlog's setup in logs. ``sandbox``, a GenAuth to
develop against, is the other side of the wire: it imports nothing of ours and only tests and `make run` start it.
``tests/unit/test_house_rules.py`` reads the imports and holds us to this.
"""
