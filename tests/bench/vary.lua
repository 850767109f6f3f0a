-- For wrk: requests the lines of a file in turn, and replaces {n} by a growing number.
local targets, number = {}, 0

function init(arguments)
  for line in io.lines(arguments[1]) do
    targets[#targets + 1] = line
  end
  number = tonumber(arguments[2])
end

function request()
  number = number + 1
  local target = targets[number % #targets + 1]
  return wrk.format("GET", (target:gsub("{n}", string.format("%d", number))))
end
