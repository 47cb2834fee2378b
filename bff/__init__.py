"""Which outside accounts has this person linked? A backend-for-frontend over GenAuth. This page is the map.

The way of a request:

    ProxyFix           whose proxies are trusted                                              werkzeug
    RequestContext     id, deadline, log line, metric, headers, problems of every response    web.middleware
    ResponseCache      an identical request answered from this worker's memory                web.response_cache
    AdmissionControl   few requests compute at once; who waits for others holds no permit     web.middleware
    Flask              web.authentication, then the rate limit, then the view                 web.linked_accounts
      the use case     fresh from the cache, else from GenAuth, else the last good answer     accounts.service
        the cache      entries in Redis: the JSON as it is sent, bound to its key             cache.accounts_cache
        GenAuth        deadline, retry, circuit breaker and bulkhead of each call             genauth.calls
      the response     body, ETag, Cache-Status                                               web.representation

The rooms, from the top. A room imports those on its own line and below, by the package (`from bff.cache import AccountsCache`):

    server cli                 the processes around the application: how it starts, drains and ends · the operator's commands
    factory                    the application: the order of the middleware, the blueprints with their guards
    web                        HTTP in, the only Flask
    services                   every dependency, built once and handed in
    storage                    the Redis, and what a person is called in it
    accounts auth              what a person has linked · whose token this is
    cache genauth              what is stored, the only Redis · HTTP out, the only requests
    observability              log, metrics, readiness
    resilience                 deadline, connecting, circuit breaker, single flight, admission, rate limit
    models errors settings schemas    values without I/O · the tree of errors · the environment · shapes on the wire

``sandbox``, a GenAuth to develop against, is the other side of the wire: it imports nothing of ours, and only tests and
`make run` start it. ``tests/house/test_house.py`` reads the imports and holds us to this.

Where do I change …

    … what a linked account shows?                 schemas/linked_accounts.py, accounts/linking.py
    … the name of a provider?                      accounts/provider_names.py
    … what `include` adds?                         accounts/inclusions.py
    … how an account is linked?                    accounts/link_flow.py, web/links.py, auth/id_tokens.py
    … who may unlink what?                         accounts/unlink_rule.py, accounts/security_facts.py
    … what counts as a token, and where it is looked for?    genauth/credentials.py, accounts/leak_guard.py
    … when GenAuth is asked, and what may stand in?    accounts/service.py
    … how long something is stored?                settings.py; in Redis: cache/entries.py; in memory: resilience/caches.py
    … what of Redis is believed?                   cache/values.py
    … who is forgotten when something changed?     cache/changes.py; what others learn of it: cache/event_stream.py
    … which tokens are accepted?                   auth/access_tokens.py, auth/introspection.py, schemas/oidc.py
    … what an event of GenAuth's makes void?        web/webhooks.py, schemas/webhooks.py
    … where a token may be sent, and CSRF?         web/authentication.py
    … what GenAuth's answers mean?                 genauth/envelope.py, schemas/genauth.py; its facts: docs/genauth.md
    … what a change that GenAuth did not confirm means?    genauth/changes.py, accounts/unlinking.py
    … why Redis counts as away, and what is done?  cache/redis_errors.py, cache/redis_store.py
    … how names are looked up and connections made?    resilience/dns.py
    … timeouts, retries, circuit breakers?         genauth/calls.py, genauth/call_policy.py
    … an error, or what a frontend does about it?  errors.py, web/problems.py
    … a header of every response?                  web/middleware.py
    … what makes two requests alike for the response cache?    web/response_cache.py
    … which origins may ask?                       web/cors.py
    … what is logged or counted?                   observability/recorder.py, observability/metrics.py, docs/observability.md
    … an operator's command?                       cli.py
    … a setting?                                   settings.py, setting_warnings.py, .env.example, docs/configuration.md
    … how the service starts and stops?            server/launch.py, server/serve.py
    … the image, and what it runs beside?          Dockerfile, compose.yaml, server/healthcheck.py
"""

__version__ = "0.2.0"
