-- Open a new term: the listener that calls this is the newest of its kind.
--
-- KEYS[1]  the feed's hash
-- ARGV     the field that holds the number of the newest term
-- returns  the number of the new one, greater than all before: at least the time of day (us), so
--          that it is greater even if Redis was emptied in between
local feed, field = KEYS[1], ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local newest = math.max(tonumber(redis.call('HGET', feed, field) or 0) + 1, now)
redis.call('HSET', feed, field, string.format('%d', newest))
return newest
