-- Acquire the lease: the new leader's fencing token replaces that of the one before, whose batches
-- are refused from now on. Another incarnation of the database than the last begins a new epoch,
-- and so do rows that an older release wrote otherwise.
--
-- An incarnation begins with the server's system identifier, the database's oid and the timeline.
-- Two databases that write the same keys would overwrite each other, and a former primary that comes
-- back has not what the cache has seen. So nothing is done then, unless it is asked for.
--
-- KEYS[1]  the feed's hash: fence (token:sequence), incarnation, epoch, cursor, when a leader last
--          wrote (s), and how rows are laid out
-- ARGV     token:sequence, incarnation, '1' to begin a new epoch whatever the incarnation, '1' to
--          follow whatever database it is, seconds after which another database's leader is gone
-- returns  epoch, cursor (false if there is none: then the cache must be filled); or
--          'another', seconds since another database's leader last wrote; or
--          'older', the timeline that the cache has seen
local LAYOUT = '2' -- epoch and version are one field; without a number, they were two
local feed = KEYS[1]
local fence, incarnation, anew, whatever, gone_after = unpack(ARGV)
local held, last_fence, alive = unpack(redis.call('HMGET', feed, 'incarnation', 'fence', 'alive'))
local now = redis.call('TIME')[1]

local pattern = '^(%d+/%d+)/(%x%x%x%x%x%x%x%x)/'
local last_place, last_timeline = (held or ''):match(pattern)
local place, timeline = incarnation:match(pattern)
if whatever ~= '1' and place and last_place then
    local silence = now - (alive or 0)
    if place ~= last_place and silence < tonumber(gone_after) then return {'another', silence} end
    -- Without a token, the cache was told to fill itself anew.
    if place == last_place and timeline < last_timeline and last_fence then
        return {'older', last_timeline}
    end
end

local layout = redis.call('HGET', feed, 'layout')
if anew == '1' or held ~= incarnation or layout ~= LAYOUT then
    -- Epochs begin at the time of day: they grow even if this hash, and only it, is lost.
    if redis.call('HINCRBY', feed, 'epoch', 1) < tonumber(now) then
        redis.call('HSET', feed, 'epoch', now)
    end
    redis.call('HDEL', feed, 'cursor')
    redis.call('HSET', feed, 'incarnation', incarnation, 'layout', LAYOUT)
end
redis.call('HSET', feed, 'fence', fence, 'alive', now)
return {redis.call('HGET', feed, 'epoch'), redis.call('HGET', feed, 'cursor')}
