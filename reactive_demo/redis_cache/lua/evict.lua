-- Remove rows of an older epoch, or of this epoch and older than a version: after the cache was
-- filled, these are rows that the table has no more; after TRUNCATE, those from before. A row without
-- a version, as NotifyFeed writes it, is older than any: one that the table has was written again.
--
-- KEYS     the feed's hash, then the keys to look at
-- ARGV     the token:sequence that must be there, epoch, version, the number of the database
-- returns  how many were removed, and how many of them not published; -1 if another token is there
local feed = KEYS[1]
local fence, epoch, version = ARGV[1], ARGV[2], ARGV[3]
if redis.call('HGET', feed, 'fence') ~= fence then return -1 end

-- Other programs' keys may begin like ours: a row without a version is a hash of one field, an object.
local stamp = epoch .. ':' .. version
local function is_old(key, held)
    local old, row, old_epoch = unpack(held)
    if held.err then return false end
    if old and old_epoch then old = old_epoch .. ':' .. old end -- of an older release
    if old and old:match('^%d+:%d+$') then return precedes(old, epoch, stamp) end
    return row and row:sub(1, 1) == '{' and redis.call('HLEN', key) == 1
end

local removed = 0
for i = 2, #KEYS do
    local key = KEYS[i]
    local held = redis.pcall('HMGET', key, 'version', 'row', 'epoch')
    if is_old(key, held) then
        redis.call('UNLINK', key)
        if held[2] then
            removed = removed + 1
            publish(key, held[1] and '"' .. held[1]:match('%d+$') .. '"' or 'null', 'null')
        end
    end
end
return {removed, unheard}
