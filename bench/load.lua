-- One request for each Authorization header of a file, at random or each once, and the figures as one line of JSON.
--   wrk … -s load.lua URL -- <file of tokens> <random|once> <first> <seed>

local requests = {}
local count, next_one, once = 0, 0, false

function init(args)
  once = args[2] == "once"
  next_one = tonumber(args[3] or "0")
  math.randomseed(tonumber(args[4] or "1"))
  for token in io.lines(args[1]) do
    count = count + 1
    requests[count] = wrk.format("GET", nil, { ["Authorization"] = "Bearer " .. token })
  end
end

function request()
  if once then
    next_one = next_one + 1
    return requests[(next_one - 1) % count + 1]
  end
  return requests[math.random(count)]
end

-- wrk calls this in the thread that asked; `done` runs in another Lua state, hence the printing.
local points = { 1, 5, 10, 20, 30, 40, 50, 60, 70, 75, 80, 85, 90, 95, 97.5, 99, 99.5, 99.9 }

function done(summary, latency, _)
  local parts = {}
  for _, p in ipairs(points) do
    parts[#parts + 1] = string.format('"%s":%.3f', p, latency:percentile(p) / 1000)
  end
  parts[#parts + 1] = string.format('"100":%.3f', latency.max / 1000)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"microseconds":%d,"failed":%d,"broken":%d,"mean":%.3f,"milliseconds":{%s}}\n',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout, latency.mean / 1000, table.concat(parts, ",")))
end
