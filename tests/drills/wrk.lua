-- Each thread asks for people in turn and holds every answer against who asked: the caller's request id comes back with it.
local people, left, right, wrong = {}, 0, 0, 0
local threads = {}

function setup(thread)
  thread:set("number", #threads)
  table.insert(threads, thread)
end

function init(args)
  for line in io.lines(args[1]) do
    local avatar, token = line:match("^(%S+) (%S+)$")
    table.insert(people, {avatar = avatar, token = token})
  end
  position = number * 37
  right_answers, wrong_answers, first_wrong = 0, 0, ""
end

function request()
  position = position % #people + 1
  local person = people[position]
  return wrk.format("GET", "/me/linked-accounts",
    {["Authorization"] = "Bearer " .. person.token, ["X-Request-Id"] = string.format("drill-%06d", position), ["Host"] = "drill"})
end

function response(status, headers, body)
  local id
  for name, value in pairs(headers) do
    if name:lower() == "x-request-id" then id = tonumber(value:match("^drill%-(%d+)$"), 10) end
  end
  local person = id and people[id]
  if status == 200 and person and body:find(person.avatar, 1, true) and not body:find("provider-token-", 1, true) then
    right_answers = right_answers + 1
  else
    wrong_answers = wrong_answers + 1
    first_wrong = status .. " " .. (id or "no id")
  end
end

function done(summary)
  local all_right, all_wrong, example = 0, 0, ""
  for _, thread in ipairs(threads) do
    all_right = all_right + thread:get("right_answers")
    all_wrong = all_wrong + thread:get("wrong_answers")
    if thread:get("first_wrong") ~= "" then example = thread:get("first_wrong") end
  end
  local lost = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  print(string.format("DRILL right=%d wrong=%d lost=%d example=%s", all_right, all_wrong, lost, example))
end
