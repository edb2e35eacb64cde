-- A listener becomes the leader: its fence replaces that of the one before, whose batches are
-- refused from now on. Another incarnation of the database than the last gets a higher epoch.
--
-- KEYS[1]  the feed's hash: fence, incarnation, epoch, cursor, and when a leader last wrote (s)
-- ARGV     fence, incarnation, '1' to begin a new epoch whatever it is
-- returns  epoch, cursor (false if there is none, and so the cache must be filled)
local feed = KEYS[1]
local fence, incarnation, anew = ARGV[1], ARGV[2], ARGV[3]
if anew == '1' or redis.call('HGET', feed, 'incarnation') ~= incarnation then
    -- Epochs begin at the time of day: were this hash lost, and only it, they still would grow.
    local now = redis.call('TIME')[1]
    if redis.call('HINCRBY', feed, 'epoch', 1) < tonumber(now) then
        redis.call('HSET', feed, 'epoch', now)
    end
    redis.call('HDEL', feed, 'cursor')
    redis.call('HSET', feed, 'incarnation', incarnation)
end
redis.call('HSET', feed, 'fence', fence, 'alive', redis.call('TIME')[1])
return {redis.call('HGET', feed, 'epoch'), redis.call('HGET', feed, 'cursor')}
