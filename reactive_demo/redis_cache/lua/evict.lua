-- Remove rows of an older epoch, or of this epoch and older than a version: after the cache was
-- filled, these are rows that the table has no more; after TRUNCATE, those from before.
--
-- KEYS     the feed's hash, then the keys to look at
-- ARGV     the token:sequence that must be there, epoch, version
-- returns  how many were removed; -1 if another token is there
local feed = KEYS[1]
local fence, epoch, version = ARGV[1], ARGV[2], ARGV[3]
if redis.call('HGET', feed, 'fence') ~= fence then return -1 end

local removed = 0
for i = 2, #KEYS do
    local key = KEYS[i]
    local held = redis.pcall('HMGET', key, 'epoch', 'version', 'row') -- not every key is ours
    local old_epoch, old_version = held[1], held[2]
    if old_epoch and old_version and precedes(old_epoch, old_version, epoch, version) then
        redis.call('UNLINK', key)
        if held[3] then
            removed = removed + 1
            redis.call('PUBLISH', key, '{"version":"' .. old_version .. '","row":null}')
        end
    end
end
return removed
