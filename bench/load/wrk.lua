-- One request for each Authorization header of a file, at random or each once, and the figures as one line of JSON.
--   wrk … -s wrk.lua URL -- <file of tokens> <random|once> <first> <seed> <zipf> <pause in ms>

local requests, upto = {}, {}
local count, next_one, once, total, pause = 0, 0, false, 0, 0

function init(args)
  once = args[2] == "once"
  next_one = tonumber(args[3])
  math.randomseed(tonumber(args[4]))
  local zipf = tonumber(args[5])
  pause = tonumber(args[6])
  for token in io.lines(args[1]) do
    count = count + 1
    requests[count] = wrk.format("GET", nil, { ["Authorization"] = "Bearer " .. token })
    total = total + count ^ -zipf
    upto[count] = total
  end
  -- wrk asks for a pause before every request as soon as there is such a function.
  if pause > 0 then
    delay = function() return math.random(0, 2 * pause) end
  end
end

-- The first whose share of the total ends beyond a random place in it.
local function someone()
  local place, low, high = math.random() * total, 1, count
  while low < high do
    local middle = math.floor((low + high) / 2)
    if upto[middle] < place then low = middle + 1 else high = middle end
  end
  return low
end

function request()
  if once then
    next_one = next_one + 1
    return requests[(next_one - 1) % count + 1]
  end
  return requests[someone()]
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
