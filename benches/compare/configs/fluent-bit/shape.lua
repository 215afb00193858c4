-- One level and one form of time.
local names = {DEBUG = "DEBUG", TRACE = "DEBUG", WARN = "WARN", WARNING = "WARN", ERROR = "ERROR"}

local function shape(r)
  r.level = names[string.upper(r.level or "")] or "INFO"
  if type(r.timestamp) == "number" then
    r.timestamp = os.date("!%Y-%m-%dT%H:%M:%S", math.floor(r.timestamp / 1000)) .. string.format(".%03dZ", r.timestamp % 1000)
  end
end

function work(tag, time, r)
  shape(r)
  return 2, time, r
end
