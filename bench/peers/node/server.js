// The same question answered with Fastify, ioredis and fast-jwt: verified tokens are remembered, accounts are cached per user,
// one caller per token asks GenAuth, the last good answer stands in for a GenAuth that is away. One log line and one metric each.
import { createHash } from 'node:crypto'

import { createVerifier } from 'fast-jwt'
import Fastify, { LogController } from 'fastify'
import buildGetJwks from 'get-jwks'
import { Redis } from 'ioredis'
import prom from 'prom-client'
import { Pool } from 'undici'

import { link } from './link.js'

const { GENAUTH_HOST, GENAUTH_ISSUER, GENAUTH_APP_ID, REDIS_URL, PORT, LOG_LEVEL } = process.env
const TTL = Number(process.env.CACHE_TTL_SECONDS)
const ACCEPTED = Number(process.env.TOKEN_ACCEPTED_SECONDS)
const STALE = 3600

const redis = new Redis(REDIS_URL.replace(/^unix:\/\//, ''), { enableAutoPipelining: true, commandTimeout: 250, maxRetriesPerRequest: 0 })
redis.on('error', () => {}) // Redis away is not an outage
const genauth = new Pool(GENAUTH_HOST, { connections: 128, headersTimeout: 3000, bodyTimeout: 3000 })
const jwks = buildGetJwks({ issuersWhitelist: [GENAUTH_ISSUER], jwksPath: '/.well-known/jwks.json' })
const verify = createVerifier({
  key: async ({ header }) => jwks.getPublicKey({ kid: header.kid, alg: header.alg, domain: GENAUTH_ISSUER }),
  algorithms: ['RS256'],
  allowedIss: GENAUTH_ISSUER,
  allowedAud: GENAUTH_APP_ID,
  requiredClaims: ['exp', 'sub', 'scope'],
  cache: 10_000,
})

const answers = new prom.Counter({ name: 'answers', help: 'Answers to callers.', labelNames: ['status', 'source'] })
const seconds = new prom.Histogram({ name: 'answer_seconds', help: 'Time from request to answer.' })

const app = Fastify({ logger: { level: LOG_LEVEL }, requestIdHeader: 'x-request-id', logController: new LogController({ disableRequestLogging: true }) })

class Problem extends Error {
  constructor(status, code) {
    super(code)
    this.status = status
    this.code = code
  }
}

app.setErrorHandler((error, request, reply) => {
  const { status = 500, code = 'internal_error' } = error instanceof Problem ? error : {}
  if (status === 401) reply.header('www-authenticate', 'Bearer error="invalid_token"')
  reply.code(status).type('application/problem+json')
  return { type: `/problems/${code.replaceAll('_', '-')}`, title: code, status, code, requestId: request.id }
})

app.decorateRequest('source', 'none')
app.addHook('onResponse', async (request, reply) => {
  answers.inc({ status: reply.statusCode, source: request.source })
  seconds.observe(reply.elapsedTime / 1000)
  request.log.info({ route: request.routeOptions.url, status: reply.statusCode, source: request.source, ms: reply.elapsedTime }, 'request')
})

app.get('/me/linked-accounts', async (request, reply) => {
  const token = /^bearer (\S+)$/i.exec(request.headers.authorization ?? '')?.[1]
  if (!token) throw new Problem(401, 'token_missing')
  const { sub } = await verify(token).catch(() => { throw new Problem(401, 'token_invalid') })
  const keys = [`accounts:${sub}`, `token:${sub}:${createHash('sha256').update(token).digest('hex')}`]
  const answer = await remembered(keys) ?? await askOnce(token, keys)

  const now = Date.now() / 1000
  request.source = answer.source
  reply.headers({
    'content-type': 'application/json',
    'cache-control': 'private, no-store',
    'cache-status': answer.source === 'cache' ? `linked-accounts; hit; ttl=${Math.trunc(answer.at + TTL - now)}` : 'linked-accounts; fwd=miss',
    age: Math.trunc(now - answer.at),
    etag: answer.etag,
    vary: 'Authorization, Cookie, Origin, Accept-Language',
    'x-content-type-options': 'nosniff',
    'x-request-id': request.id,
  })
  if (request.headers['if-none-match'] === answer.etag) return reply.code(304).send()
  const fetchedAt = new Date(Math.trunc(answer.at) * 1000).toISOString().replace('.000', '')
  return reply.send(`{"linkedAccounts":${answer.accounts},"meta":{"total":${answer.total},"stale":${answer.source === 'stale'},"fetchedAt":"${fetchedAt}"}}`)
})

async function remembered (keys, stale = false) {
  const [entry, acceptedAt] = await redis.mget(keys).catch(() => [null, null])
  if (!entry || !acceptedAt) return null
  // Kept as the text that is sent, behind a short head: nothing is parsed that is not looked at.
  const head = entry.slice(0, entry.indexOf('\n'))
  const [user, at, total, etag] = head.split(' ')
  const since = Date.now() / 1000 - (stale ? TTL + STALE : 0)
  const fresh = Number(at) + TTL > since && Number(acceptedAt) + ACCEPTED > since
  if (user !== keys[0] || !fresh) return null
  return { accounts: entry.slice(head.length + 1), at: Number(at), total, etag, source: stale ? 'stale' : 'cache' }
}

const asking = new Map()

function askOnce (token, keys) {
  let flight = asking.get(keys[1])
  if (!flight) {
    flight = ask(token, keys).finally(() => asking.delete(keys[1]))
    asking.set(keys[1], flight)
  }
  return flight
}

async function ask (token, keys) {
  const at = Date.now() / 1000
  let accounts
  try {
    const [identities, sources] = await Promise.all([get('get-identities', token), enabledSources(token)])
    accounts = link(identities, sources)
  } catch (error) {
    if (error instanceof Problem && error.status < 500) throw error
    const answer = await remembered(keys, true)
    if (answer) return answer
    throw new Problem(503, 'upstream_unavailable')
  }
  const text = JSON.stringify(accounts)
  const etag = `W/"${createHash('sha1').update(text).digest('base64url')}"`
  const life = TTL + STALE
  await redis.pipeline()
    .set(keys[0], `${keys[0]} ${at} ${accounts.length} ${etag}\n${text}`, 'EX', life)
    .set(keys[1], at, 'EX', life)
    .exec().catch(() => {})
  return { accounts: text, at, total: accounts.length, etag, source: 'genauth' }
}

async function get (what, token) {
  const { body } = await genauth.request({
    path: `/api/v3/${what}`,
    method: 'GET',
    headers: { authorization: `Bearer ${token}`, 'x-authing-app-id': GENAUTH_APP_ID, 'x-genauth-app-id': GENAUTH_APP_ID },
  })
  const envelope = await body.json()
  if (envelope.statusCode === 401) throw new Problem(401, 'token_invalid')
  if (envelope.statusCode !== 200) throw new Problem(502, 'upstream_malformed')
  return envelope.data
}

let catalogue = { sources: null, until: 0 }

function enabledSources (token) {
  if (Date.now() > catalogue.until) {
    catalogue = { sources: get('get-application-enabled-extidps', token), until: Date.now() + 600_000 }
    catalogue.sources.catch(() => { catalogue.until = 0 })
  }
  return catalogue.sources
}

await app.listen({ port: Number(PORT), host: '127.0.0.1', backlog: 4096 })
