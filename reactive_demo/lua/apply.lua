-- Write what is newer, publish it, and move the cursor: all of it, or nothing.
--
-- KEYS     the feed's hash, then the rows' keys
-- ARGV     the fence that must stand, the one to put there, epoch, life of a tombstone in ms,
--          cursor ('' to leave it), then for each key its version and its row ('' for a deleted one)
-- returns  how many were newer; -1 if another fence stands: a newer leader's, or none since Redis
--          was emptied, or an older one since Redis came back with older data
--
-- Versions and epochs are compared as decimal text: a Lua number is a double, exact to 2^53 only.
local feed = KEYS[1]
local fence, next_fence, epoch, life, cursor = unpack(ARGV, 1, 5)
if redis.call('HGET', feed, 'fence') ~= fence then return -1 end

local function less(a, b) return #a < #b or (#a == #b and a < b) end

local newer = 0
for i = 2, #KEYS do
    local key, version, row = KEYS[i], ARGV[2 * i + 2], ARGV[2 * i + 3]
    local held = redis.pcall('HMGET', key, 'epoch', 'version')
    if held.err then -- somebody put something else there
        redis.call('DEL', key)
        held = {}
    end
    local old_epoch, old_version = held[1] or '', held[2] or ''
    if less(old_epoch, epoch) or (old_epoch == epoch and less(old_version, version)) then
        newer = newer + 1
        if row == '' then
            redis.call('DEL', key)
            redis.call('HSET', key, 'epoch', epoch, 'version', version)
            redis.call('PEXPIRE', key, life) -- a tombstone: it keeps older batches out
            row = 'null'
        else
            if redis.call('HSET', key, 'row', row, 'epoch', epoch, 'version', version) > 0 then
                redis.call('PERSIST', key) -- no row stood there: it would inherit a tombstone's life
            end
        end
        redis.call('PUBLISH', key, '{"version":"' .. version .. '","row":' .. row .. '}')
    end
end
redis.call('HSET', feed, 'fence', next_fence, 'alive', redis.call('TIME')[1]) -- a sign of life
if cursor ~= '' then redis.call('HSET', feed, 'cursor', cursor) end
return newer
