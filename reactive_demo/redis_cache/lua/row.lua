-- What the scripts that write versioned rows share: it stands before each of them.
--
-- ARGV     ..., the number of the database: all databases of a Redis share their channels
local db = ARGV[#ARGV]

-- Versions and epochs are compared as decimal text: a Lua number is a double, exact to 2^53 only.
local function less(a, b) return #a < #b or (#a == #b and a < b) end

local function precedes(old_epoch, old_version, epoch, version)
    return less(old_epoch, epoch) or (old_epoch == epoch and less(old_version, version))
end

-- Publish a row. An account without rights to the channels has written it all the same: `unheard`
-- counts what was not published.
local unheard = 0
local function publish(key, version, row)
    local message = '{"version":' .. version .. ',"row":' .. row .. ',"db":' .. db .. '}'
    if type(redis.pcall('PUBLISH', key, message)) == 'table' then unheard = unheard + 1 end
end

-- Write a row, or for '' a tombstone that lives for `life` ms, and publish it, if it is newer than
-- what is there. Returns 1 if it was, else 0.
local function store(key, epoch, version, row, life)
    local held = redis.pcall('HMGET', key, 'epoch', 'version')
    if held.err then -- somebody put something else there
        redis.call('DEL', key)
        held = {}
    end
    if not precedes(held[1] or '', held[2] or '', epoch, version) then return 0 end
    if row == '' then
        redis.call('DEL', key)
        redis.call('HSET', key, 'epoch', epoch, 'version', version)
        redis.call('PEXPIRE', key, life) -- a tombstone: it keeps older batches out
        row = 'null'
    elseif redis.call('HSET', key, 'row', row, 'epoch', epoch, 'version', version) > 0 then
        redis.call('PERSIST', key) -- no row stood there: it would inherit a tombstone's life
    end
    publish(key, '"' .. version .. '"', row)
    return 1
end

