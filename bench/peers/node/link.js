// GenAuth's identity records as the accounts that people see: one for each identity source.

const SPOKESMEN = ['unionid', 'union_id', 'primary', 'generic', 'user_id', 'openid', 'open_id']

export function link (identities, sources) {
  const groups = Map.groupBy ? Map.groupBy(identities, idOf) : grouped(identities)
  const known = new Map([...sources].reverse().map((source) => [source.extIdpId, source]))
  const accounts = [...groups].map(([id, records]) => account(id, records, known.get(id) ?? {}))
  return accounts.sort((a, b) => compare(a.provider.type, b.provider.type) || compare(a.id, b.id))
}

function account (id, records, source) {
  const profiles = records.toSorted((a, b) => rank(a) - rank(b)).map((record) => record.userInfoInIdp ?? {})
  const first = (read) => profiles.map(read).find(Boolean) ?? null
  return {
    id,
    provider: {
      type: records[0].provider,
      name: source.name_en ?? records[0].provider,
      category: source.extIdpType ?? null,
      logoUrl: source.logo ?? null,
    },
    displayName: first((profile) => profile.nickname ?? profile.name ?? profile.username),
    email: first((profile) => profile.email?.replace(/^(.)[^@]*@/, '$1•••@')),
    avatarUrl: first((profile) => profile.photo?.startsWith('https:') && profile.photo),
    identityTypes: [...new Set(records.map((record) => record.type))].sort(),
  }
}

const idOf = (record) => record.extIdpId ?? record.identityId
const rank = (record) => SPOKESMEN.indexOf(record.type) + 1 || SPOKESMEN.length + 1
const compare = (a, b) => (a < b ? -1 : Number(a > b))

function grouped (records) {
  const groups = new Map()
  for (const record of records) groups.set(idOf(record), [...(groups.get(idOf(record)) ?? []), record])
  return groups
}
