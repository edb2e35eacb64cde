-- Store a row that a reader missed and read from the database, unless that came too late.
--
-- KEYS     the feed's hash, the row's key, the key that its loader holds
-- ARGV     the loader's token, the epoch before it read, the incarnation that it read from, how
--          long an absent row is remembered in ms, the version ('' only lets go), the row ('' for
--          an absent one), the number of the database
-- returns  1 if it was stored, 0 if the cache holds this version or a newer one, -1 if too late
--
-- A loader is not the leader and has no fence, so its time is limited instead: the lock is shorter
-- than the life of a tombstone, and so what was deleted after the read is still marked as deleted
-- here. Another epoch or incarnation means that the read was of another database.
local feed, key, lock = unpack(KEYS)
local token, epoch, incarnation, life, version, row = unpack(ARGV)
if redis.call('GET', lock) ~= token then return -1 end
redis.call('DEL', lock)
local now = redis.call('HMGET', feed, 'epoch', 'incarnation')
if version == '' or now[1] ~= epoch or now[2] ~= incarnation then return -1 end

return store(key, epoch, version, row, life)
