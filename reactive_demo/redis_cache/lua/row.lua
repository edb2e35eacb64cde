-- What the scripts that write versioned rows share: it stands before each of them.
--
-- ARGV     ..., the number of the database: all databases of a Redis share their channels
local db = ARGV[#ARGV]

-- Decimal text is compared as it is: a Lua number is a double, exact to 2^53 only.
local function less(a, b) return #a < #b or (#a == #b and a < b) end

-- A row's version is one field, `epoch:version`: to read and write two takes a quarter longer. The
-- epoch counts first, so within one, the longer field is the newer. What has no epoch is older.
local function precedes(held, epoch, stamp)
    local mark = #epoch + 1
    if held:sub(1, mark) == stamp:sub(1, mark) then return less(held, stamp) end
    local held_epoch = held:match('^(%d+):%d+$')
    return not held_epoch or less(held_epoch, epoch)
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
    local stamp = epoch .. ':' .. version
    local held = redis.pcall('HGET', key, 'version')
    if held and (held.err or not held:find(':', 1, true)) then -- another program's or release's
        redis.call('DEL', key)
    elseif held and not precedes(held, epoch, stamp) then
        return 0
    end
    if row == '' then
        redis.call('DEL', key)
        redis.call('HSET', key, 'version', stamp)
        redis.call('PEXPIRE', key, life) -- a tombstone: it keeps older batches out
        row = 'null'
    elseif redis.call('HSET', key, 'row', row, 'version', stamp) > 0 then
        redis.call('PERSIST', key) -- no row stood there: it would inherit a tombstone's life
    end
    publish(key, '"' .. version .. '"', row)
    return 1
end
