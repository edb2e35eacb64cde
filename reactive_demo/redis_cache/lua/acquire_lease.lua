-- Acquire the lease: the new leader's fencing token replaces that of the one before, whose batches
-- are refused from now on. Another incarnation of the database than the last begins a new epoch.
--
-- KEYS[1]  the feed's hash: fence (token:sequence), incarnation, epoch, cursor, and when a leader
--          last wrote (s)
-- ARGV     token:sequence, incarnation, '1' to begin a new epoch whatever the incarnation
-- returns  epoch, cursor (false if there is none: then the cache must be filled)
local feed = KEYS[1]
local fence, incarnation, anew = ARGV[1], ARGV[2], ARGV[3]
if anew == '1' or redis.call('HGET', feed, 'incarnation') ~= incarnation then
    -- Epochs begin at the time of day: they grow even if this hash, and only it, is lost.
    local now = redis.call('TIME')[1]
    if redis.call('HINCRBY', feed, 'epoch', 1) < tonumber(now) then
        redis.call('HSET', feed, 'epoch', now)
    end
    redis.call('HDEL', feed, 'cursor')
    redis.call('HSET', feed, 'incarnation', incarnation)
end
redis.call('HSET', feed, 'fence', fence, 'alive', redis.call('TIME')[1])
return {redis.call('HGET', feed, 'epoch'), redis.call('HGET', feed, 'cursor')}
