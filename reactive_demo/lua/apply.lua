-- Write what is newer, publish it, and move the cursor: all of it, or nothing.
--
-- KEYS     the feed's hash, then the rows' keys
-- ARGV     token, epoch, life of a tombstone in ms, cursor ('' to leave it), then for each key
--          its version and its row ('' for a deleted one)
-- returns  how many were newer; -1 if the token is not the leader's (or Redis was emptied)
--
-- Versions and epochs are compared as decimal text: a Lua number is a double, exact to 2^53 only.
local feed = KEYS[1]
local token, epoch, life, cursor = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if redis.call('HGET', feed, 'fence') ~= token then return -1 end

local function less(a, b) return #a < #b or (#a == #b and a < b) end

local newer = 0
for i = 2, #KEYS do
    local key, version, row = KEYS[i], ARGV[2 * i + 1], ARGV[2 * i + 2]
    local held = redis.call('HMGET', key, 'epoch', 'version')
    local old_epoch, old_version = held[1] or '', held[2] or ''
    if less(old_epoch, epoch) or (old_epoch == epoch and less(old_version, version)) then
        newer = newer + 1
        if row == '' then
            redis.call('DEL', key)
            redis.call('HSET', key, 'epoch', epoch, 'version', version)
            redis.call('PEXPIRE', key, life) -- a tombstone: it keeps older batches out
            row = 'null'
        else
            redis.call('HSET', key, 'row', row, 'epoch', epoch, 'version', version)
            redis.call('PERSIST', key) -- else a row would inherit the tombstone's life
        end
        redis.call('PUBLISH', key, '{"version":"' .. version .. '","row":' .. row .. '}')
    end
end
if cursor ~= '' then redis.call('HSET', feed, 'cursor', cursor) end
return newer
